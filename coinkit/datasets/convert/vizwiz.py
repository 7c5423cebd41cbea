"""VizWiz VQA: ten answers per picture, `unanswerable` among them. The most frequent one is trained on and is gold in val."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from coinkit.datasets.convert.reading import Advance, Record, elements
from coinkit.datasets.convert.rows import Item, LeftOut, most_frequent
from coinkit.datasets.convert.source import Files, Source

FOLDER = 'VizWiz'


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    folder = 'train' if split == 'train' else 'val'
    for number, value in enumerate(elements(files['annotations'], advance)):
        record = Record(value, files['annotations'], str(number))
        image, answer = record.text('image'), most_frequent(record.texts('answers'))
        more = {'answerable': record.number('answerable')} if 'answerable' in record.value else {}
        yield Item(PurePosixPath(image).stem, f'{FOLDER}/{folder}/{image}', record.text('question').strip(), answer,
                   {'answer': answer, **more})


SOURCES = {'vizwiz': Source(
    'vizwiz', 'VizWiz', (FOLDER, f'{FOLDER}/Annotations', f'{FOLDER}/annotations'),
    {'train': {'annotations': ('train.json',)}, 'test': {'annotations': ('val.json',)}},
    read, 'vizwiz.org (VQA annotations)')}
