"""TextVQA 0.5.1: ten answers per question. The training answer is the most frequent one; test rows carry all ten."""

from __future__ import annotations

from collections.abc import Iterator

from coinkit.datasets.convert.reading import Advance, Record, elements
from coinkit.datasets.convert.rows import Item, LeftOut, most_frequent
from coinkit.datasets.convert.source import Files, Source

FOLDER = 'TextVQA'
NUM_ANSWERS = 10


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    for number, value in enumerate(elements(files['annotations'], advance, 'data')):
        record = Record(value, files['annotations'], str(number))
        answers = record.texts('answers')
        if split == 'test' and len(answers) != NUM_ANSWERS:
            raise record.wrong(f'has {len(answers)} answers; {NUM_ANSWERS} are wanted')
        image = f'{FOLDER}/train_images/{record.text("image_id")}.jpg'  # the pictures of val are in the same folder
        yield Item(record.name_of('question_id'), image, record.text('question').strip(), most_frequent(answers),
                   {'answers': answers})


SOURCES = {'textvqa': Source(
    'textvqa', 'TextVQA', (FOLDER,),
    {'train': {'annotations': ('TextVQA_0.5.1_train.json',)}, 'test': {'annotations': ('TextVQA_0.5.1_val.json',)}},
    read, 'textvqa.org (version 0.5.1)')}
