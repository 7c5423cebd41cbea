"""Referring expressions of RefCOCO, RefCOCO+ and RefCOCOg as CoIN's Grounding task, one of them or all three.

Every sentence is a row. Splits of refs are those most used (unc, unc, umd); test rows are all of testA, testB and test.
The boxes are made as `RefCOCO` makes them, and as there one that two decimals leave without area is a test row, which no
answer meets, and no training row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from coinkit.datasets.convert.reading import Advance
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source
from coinkit.datasets.refer_files import INSTANCES, SOURCE, read_referred
from coinkit.datasets.refer_rows import DECIMALS, GOLD, TASK, referred_rows
from coinkit.errors import DataError

FOLDER = 'COCO2014/train2014'
REFS: Mapping[str, str] = {'refcoco': 'unc', 'refcoco+': 'unc', 'refcocog': 'umd'}
TEST = ('testA', 'testB', 'test')
THIN = f'its box has no area at {DECIMALS} decimals'


def reader(names: tuple[str, ...]) -> Callable[[Files, str, Advance], Iterator[Item | LeftOut]]:
    def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
        for name in names:
            found = read_referred(files[name].parent, REFS[name])
            advance(files[name].stat().st_size + files[f'{name}.instances'].stat().st_size)
            wanted = ('train',) if split == 'train' else TEST
            rows = referred_rows(found, wanted, name, thin_boxes='leave_out' if split == 'train' else 'keep')
            if not rows.kept and not rows.thin:
                there = ', '.join(dict.fromkeys(one.split for one in found))
                raise DataError(f'{files[name]}: has no {" or ".join(wanted)} split. It has: {there}.')
            yield from (LeftOut(one, THIN) for one in rows.thin)
            for row in rows.kept:
                gold = {key: row[key] for key in GOLD}
                yield Item(row['id'], f'{FOLDER}/{row["image"]}', row['phrase'], row['answer_bbox'], gold)

    return read


def _files(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {role: (path,) for name in names
            for role, path in ((name, f'{name}/refs({REFS[name]}).p'), (f'{name}.instances', f'{name}/{INSTANCES}'))}


def _source(title: str, names: tuple[str, ...]) -> Source:
    files = _files(names)
    return Source(title, TASK, ('', 'RefCOCO', 'refer/data'), {'train': files, 'test': files}, reader(names), SOURCE)


SOURCES = {'grounding': _source('grounding', tuple(REFS)), **{name: _source(name, (name,)) for name in REFS}}
