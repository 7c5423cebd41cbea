"""The files of RefCOCO, RefCOCO+ and RefCOCOg as their authors publish them: refs(NAME).p and instances.json.

refs(*.p) are pickles of Python 2. They are read by an Unpickler that refuses every class and function by name, so that
nothing but numbers, texts, lists and dicts can come out and nothing can run. instances.json is read through pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from coinkit.errors import DataError, nearest

INSTANCES = 'instances.json'
SOURCE = 'the refer package (lichengunc/refer): refcoco.zip, refcoco+.zip, refcocog.zip'
_FIELDS = {'ref_id': int, 'ann_id': int, 'image_id': int, 'split': str, 'sentences': list}
_BROKEN = (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
           MemoryError, RecursionError)


class Referred(NamedTuple):
    """One object of a picture and what people call it."""

    ref_id: int
    split: str
    file_name: str
    size: tuple[int, int]  # width, height
    box: tuple[float, float, float, float]  # x, y, width, height in pixels
    sentences: tuple[tuple[int, str], ...]  # sent_id, text


class _PlainUnpickler(pickle.Unpickler):
    """Plain containers only."""

    def __init__(self, file: Any, path: Path):
        # texts of Python 2 are bytes: UTF-8 where they are, Latin-1 where not (see _text)
        super().__init__(file, encoding='utf-8', errors='surrogateescape')
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f'{self.path}: wants to load {module}.{name}, which was not done; a file of refs holds plain lists '
                        f'and dicts only. Download it again from {SOURCE}.')

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(f'{self.path}: refers to an object outside the file; a file of refs holds plain lists and dicts '
                        'only.')


def read_plain_pickle(path: Path) -> Any:
    """What the file holds, if that is plain; DataError names file and class otherwise."""
    try:
        with open(path, 'rb') as file:
            return _PlainUnpickler(file, path).load()
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}). Get it from {SOURCE}.') from error
    except _BROKEN as error:
        raise DataError(f'{path}: is no whole pickle file ({type(error).__name__}: {error}). Download it again from '
                        f'{SOURCE}.') from error


def refs_file(folder: Path, name: str) -> Path:
    return folder / f'refs({name}).p'


def read_referred(folder: Path, name: str) -> tuple[Referred, ...]:
    """All objects of `folder/refs(NAME).p` with their boxes, in the file's order."""
    files = refs_file(folder, name), folder / INSTANCES
    for file in files:
        if not file.is_file():
            raise DataError(_absent(folder, file))
    return _read(*files, *(file.stat().st_mtime_ns for file in files))


def _absent(folder: Path, file: Path) -> str:
    there = sorted(each.name for each in folder.glob('refs(*).p')) if folder.is_dir() else []
    hint = f'There: {", ".join(there)}. {nearest(file.name, there)}'.strip() if there else f'Get it from {SOURCE}.'
    return f'{file}: there is no such file. {hint}'


@lru_cache(maxsize=4)  # the train, val and test sets of one folder are read at once
def _read(refs: Path, instances: Path, *_changed: int) -> tuple[Referred, ...]:
    found = read_plain_pickle(refs)
    if not isinstance(found, list) or not found:
        raise DataError(f'{refs}: holds a {type(found).__name__}; a list of refs is wanted.')
    boxes, images = _instances(instances)
    return tuple(_referred(refs, number, ref, boxes, images) for number, ref in enumerate(found))


def _instances(path: Path) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """Box and picture by id."""
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it takes
            coco = COCO(str(path))
        return ({key: tuple(map(float, one['bbox'])) for key, one in coco.anns.items()},
                {key: (one['file_name'], int(one['width']), int(one['height'])) for key, one in coco.imgs.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        raise DataError(f'{path}: is no COCO annotation file ({type(error).__name__}: {error}). Download it again from '
                        f'{SOURCE}.') from error


def _referred(path: Path, number: int, ref: Any, boxes: Mapping[int, Any], images: Mapping[int, Any]) -> Referred:
    where = f'{path}: ref {number}'
    if not isinstance(ref, dict):
        raise DataError(f'{where} is a {type(ref).__name__}; a dict is wanted.')
    for key, kind in _FIELDS.items():
        if not isinstance(ref.get(key), kind):
            given = f'a {type(ref[key]).__name__} as' if key in ref else 'no'
            keys = ', '.join(each for each in ref if isinstance(each, str))
            raise DataError(f"{where} has {given} '{key}'; a {kind.__name__} is wanted. Its keys: {keys}.")
    where += f' (ref_id {ref["ref_id"]})'
    if ref['ann_id'] not in boxes or ref['image_id'] not in images:
        key = 'ann_id' if ref['ann_id'] not in boxes else 'image_id'
        raise DataError(f'{where}: its {key} {ref[key]} is not in {path.with_name(INSTANCES)}; both files must be of one '
                        'release.')
    file_name, width, height = images[ref['image_id']]
    box = boxes[ref['ann_id']]
    if len(box) != 4 or min(width, height, *box[2:]) <= 0:
        raise DataError(f'{where}: its box {list(box)} in a picture of {width} x {height} pixels is empty.')
    try:
        sentences = tuple((int(each['sent_id']), _text(each['sent'])) for each in ref['sentences'])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: its sentences are not dicts with 'sent_id' and 'sent' ({error}).") from error
    if not sentences or not all(text for _, text in sentences):
        raise DataError(f'{where}: has an empty sentence, or none.')
    return Referred(ref['ref_id'], ref['split'], file_name, (width, height), box, sentences)


def _text(text: str) -> str:
    """A text whose bytes were no UTF-8 is Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode('utf-8', 'surrogateescape').decode('latin-1')
    return text.strip()
