"""OCR-VQA: dataset.json, book by book, one row per question. Splits are numbered 1 (train), 2 (val) and 3 (test)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from coinkit.datasets.convert.reading import Advance, Record, members
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source

FOLDER = 'OCR-VQA'
NUMBERS = {'train': 1, 'test': 3}


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    for name, value in members(files['dataset'], advance):
        record = Record(value, files['dataset'], f"'{name}'")
        number = record.number('split')
        if number not in (1, 2, 3):
            raise record.wrong(f"its split is {number}; 1, 2 or 3 is wanted")
        if number == NUMBERS[split]:
            yield from _book(record, name)


def _book(record: Record, name: str) -> Iterator[Item]:
    questions, answers = record.texts('questions'), record.texts('answers')
    if len(questions) != len(answers):
        raise record.wrong(f'has {len(questions)} questions and {len(answers)} answers')
    try:  # covers are stored under the book's id with the ending of their address
        ending = PurePosixPath(urlsplit(record.text('imageURL')).path).suffix or '.jpg'
    except ValueError as error:
        raise record.wrong(f"'imageURL' is no address ({error})") from error
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        yield Item(f'{name}_{number}', f'{FOLDER}/images/{name}{ending}', question.strip(), answer.strip())


SOURCES = {'ocrvqa': Source(
    'ocrvqa', 'OCR-VQA', (FOLDER,), {split: {'dataset': ('dataset.json',)} for split in ('train', 'test')},
    read, 'ocr-vqa.github.io')}
