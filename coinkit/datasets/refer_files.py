"""The files of RefCOCO, RefCOCO+ and RefCOCOg as their authors publish them: refs(NAME).p and instances.json.

refs(*.p) are pickles of Python 2. They are read by an Unpickler that refuses every class and function by name, so that
nothing but numbers, texts, lists and dicts can come out and nothing can run. instances.json is read through pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from coinkit.data.strict_json import decode
from coinkit.datasets.shown import shown
from coinkit.errors import DataError, nearest

INSTANCES = 'instances.json'
SOURCE = 'the refer package (lichengunc/refer): refcoco.zip, refcoco+.zip, refcocog.zip'
_FIELDS = {'ref_id': int, 'ann_id': int, 'image_id': int, 'split': str, 'sentences': list}
_BROKEN = (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
           MemoryError, RecursionError)
_WANTED = {int: 'a whole number (up to 2**53)', str: 'a text', list: 'a list'}
_LARGEST = 2**53  # of ids, sizes and coordinates


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
    read = tuple(_referred(refs, number, ref, boxes, images) for number, ref in enumerate(found))
    _refuse_second_ids(refs, read)
    return read


def _refuse_second_ids(refs: Path, read: Sequence[Referred]) -> None:
    """Rows are named by their sentence."""
    first: dict[int, int] = {}
    for one in read:
        for sent_id, _ in one.sentences:
            if sent_id in first:
                raise DataError(f'{refs}: the sent_id {sent_id} is there twice, in ref_id {first[sent_id]} and ref_id '
                                f'{one.ref_id}; ids must differ. Download it again from {SOURCE}.')
            first[sent_id] = one.ref_id


def _instances(path: Path) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    """Annotation and picture by id, as the file has them; what a ref names is looked at with the ref."""
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it takes
            coco = COCO()
            coco.dataset = decode(path.read_bytes().decode('utf-8-sig'))
            if not isinstance(coco.dataset, dict):
                raise TypeError(f'holds a {type(coco.dataset).__name__}')
            coco.createIndex()
        for kind, by_id in (('annotations', coco.anns), ('images', coco.imgs)):
            again = (one for one in coco.dataset.get(kind, ()) if by_id[one['id']] is not one)
            if twice := next((one for one in again if by_id[one['id']] != one), None):
                raise ValueError(f'two of its {kind} have the id {shown(twice["id"])} and differ')
        return coco.anns, coco.imgs
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f'{path}: is no COCO annotation file ({type(error).__name__}: {error}). Download it again from '
                        f'{SOURCE}.') from error


def _referred(path: Path, number: int, ref: Any, boxes: Mapping[int, Any], images: Mapping[int, Any]) -> Referred:
    where = f'{path}: ref {number}'
    if not isinstance(ref, dict):
        raise DataError(f'{where} is a {type(ref).__name__}; a dict is wanted.')
    for key, kind in _FIELDS.items():
        if not isinstance(ref.get(key), kind) or kind is int and not _is_whole(ref[key]):
            given = f'a {type(ref[key]).__name__} as' if key in ref else 'no'
            keys = ', '.join(each for each in ref if isinstance(each, str))
            raise DataError(f"{where} has {given} '{key}'; {_WANTED[kind]} is wanted. Its keys: {keys}.")
    where += f' (ref_id {ref["ref_id"]})'
    if ref['ann_id'] not in boxes or ref['image_id'] not in images:
        key = 'ann_id' if ref['ann_id'] not in boxes else 'image_id'
        raise DataError(f'{where}: its {key} {ref[key]} is not in {path.with_name(INSTANCES)}; both files must be of one '
                        'release.')
    note = boxes[ref['ann_id']]
    if note['image_id'] != ref['image_id']:
        raise DataError(f'{where}: its image_id is {ref["image_id"]}, and its ann_id {ref["ann_id"]} is on the image '
                        f'{shown(note["image_id"])} in {path.with_name(INSTANCES)}; both files must be of one release.')
    file_name, size = _picture(images[ref['image_id']], path.with_name(INSTANCES), ref['image_id'])
    sentences = tuple(_sentence(each, where) for each in ref['sentences'])
    if not sentences or not all(text for _, text in sentences):
        raise DataError(f'{where}: has an empty sentence, or none.')
    return Referred(ref['ref_id'], ref['split'], file_name, size, _box(note, where, size), sentences)


def _is_whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and abs(given) <= _LARGEST


def _picture(image: Mapping[str, Any], path: Path, image_id: int) -> tuple[str, tuple[int, int]]:
    """Its file's name, width and height."""
    name, size = image.get('file_name'), (image.get('width'), image.get('height'))
    if not isinstance(name, str) or not name.strip() or not all(_is_whole(side) and side > 0 for side in size):
        raise DataError(f'{path}: the image with id {image_id} has file_name={shown(name)}, width={shown(size[0])}, '
                        f'height={shown(size[1])}; a name and whole numbers of pixels are wanted.')
    return name, size


def _box(note: Mapping[str, Any], where: str, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Four finite numbers. Width and height may be 0, as of a thing that is cut off at the border."""
    box = note.get('bbox')
    if (not isinstance(box, list) or len(box) != 4 or any(isinstance(each, bool) or not isinstance(each, int | float)
                                                          or not abs(each) <= _LARGEST for each in box)
            or min(box[2:]) < 0):
        raise DataError(f'{where}: its box {shown(box)} in a picture of {size[0]} x {size[1]} pixels is none: four finite '
                        'numbers x, y, width, height are wanted.')
    x, y, width, height = map(float, box)
    return x, y, width, height


def _sentence(each: Any, where: str) -> tuple[int, str]:
    if not isinstance(each, dict) or not _is_whole(each.get('sent_id')) or not isinstance(each.get('sent'), str):
        raise DataError(f"{where}: its sentences are not dicts with 'sent_id' and 'sent', a whole number and a text: "
                        f'{shown(each)}.')
    return each['sent_id'], _text(each['sent'], where)


def _text(text: str, where: str) -> str:
    """A text whose bytes were no UTF-8 is Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            text = text.encode('utf-8', 'surrogateescape').decode('latin-1')
        except UnicodeEncodeError as error:
            raise DataError(f'{where}: a sentence holds half of a character ({error.reason}).') from error
    return text.strip()
