"""GQA: the balanced questions of train, and of testdev to test. Questions that a file marks as not balanced are left out."""

from __future__ import annotations

from collections.abc import Iterator

from coinkit.datasets.convert.reading import Advance, Record, members
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source

FOLDER = 'GQA'


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    for name, value in members(files['questions'], advance):
        record = Record(value, files['questions'], f"'{name}'")
        if not record.flag('isBalanced', True):
            yield LeftOut(name, 'it is not balanced')
            continue
        answer = record.text('answer')
        yield Item(name, f'{FOLDER}/images/{record.name_of("imageId")}.jpg', record.text('question').strip(), answer,
                   {'answer': answer, 'is_balanced': True})


SOURCES = {'gqa': Source(
    'gqa', 'GQA', (FOLDER, f'{FOLDER}/questions', f'{FOLDER}/questions1.2'),
    {'train': {'questions': ('train_balanced_questions.json',)},
     'test': {'questions': ('testdev_balanced_questions.json',)}},
    read, 'the GQA site of Stanford (questions 1.2)')}
