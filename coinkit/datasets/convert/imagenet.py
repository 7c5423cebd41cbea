"""ImageNet: a folder per class with its pictures; LOC_synset_mapping.txt (or synset_words.txt) names the classes.

Which classes take part is which folders are there: CoIN has 100. The answer is the first name of a class. Folders are
named n01440764 and need the file of names; any other folder's name is the class's own, with spaces for underscores. Rows
follow the names of folders and files. Test rows come from val/, whose pictures must be sorted into class folders too, or
from test/ where there is no val/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from coinkit.datasets.convert.reading import Advance
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source
from coinkit.errors import DataError

FOLDER = 'ImageNet_withlabel'
ENDINGS = ('.jpeg', '.jpg', '.png')
_SYNSET = re.compile(r'n\d{8}')


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    names = _names(files['names']) if 'names' in files else {}
    folder = files['pictures']
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise DataError(f'{folder}: holds no class folders. Sort the pictures into one folder per class.')
    for each in classes:
        answer = _name(each, names, files)
        pictures = sorted(entry.name for entry in os.scandir(folder / each) if entry.name.lower().endswith(ENDINGS))
        if not pictures:
            yield LeftOut(each, 'the class folder holds no picture')
        for picture in pictures:
            yield Item(f'{split}_{each}_{Path(picture).stem}', f'{FOLDER}/{folder.name}/{each}/{picture}', '', answer)


def _name(folder: str, names: dict[str, str], files: Files) -> str:
    if not _SYNSET.fullmatch(folder):
        return folder.replace('_', ' ')
    if folder not in names:
        place = files.get('names')
        raise DataError(f"{files['pictures']}: the class '{folder}' has no name: " + (
            f'it is not in {place}.' if place else 'there is no LOC_synset_mapping.txt beside it, which the ILSVRC archive '
            'of Kaggle holds.'))
    return names[folder]


def _names(path: Path) -> dict[str, str]:
    """First name by folder: lines such as `n01440764 tench, Tinca tinca`."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text('utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f'{path}: cannot be read as UTF-8 text ({error}).') from error
    for number, line in enumerate(lines, 1):
        folder, _, names = line.strip().partition(' ')
        name = names.split(',')[0].strip()
        if line.strip() and (not _SYNSET.fullmatch(folder) or not name):
            raise DataError(f"{path}: line {number} is '{line[:60]}'; 'n01440764 tench, Tinca tinca' is wanted.")
        found[folder] = name
    return found


_NAMES = ('LOC_synset_mapping.txt', 'synset_words.txt')
SOURCES = {'imagenet': Source(
    'imagenet', 'ImageNet', (FOLDER,),
    {'train': {'pictures': ('train',), 'names': _NAMES}, 'test': {'pictures': ('val', 'test'), 'names': _NAMES}},
    read, 'image-net.org (ILSVRC 2012)', optional=('names',), instruction_asks=True)}
