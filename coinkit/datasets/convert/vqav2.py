"""VQA v2: questions and annotations, joined by question id. The answer is the official `multiple_choice_answer`, which is
the most frequent of the ten. Rows follow the file of questions; a question without an annotation, or the other way round,
is an error.
"""

from __future__ import annotations

from collections.abc import Iterator

from coinkit.datasets.convert.reading import Advance, Record, elements
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source
from coinkit.errors import DataError

FOLDER = 'COCO2014'
SHOWN = 3


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    subset = 'train2014' if split == 'train' else 'val2014'
    answers = _answers(files, advance)
    unanswered = []
    for number, value in enumerate(elements(files['questions'], advance, 'questions')):
        record = Record(value, files['questions'], str(number))
        name, image_id = record.name_of('question_id'), record.number('image_id')
        given = answers.pop(name, None)
        if given is None:
            unanswered.append(name)
            continue
        if given[1] != image_id:
            raise record.wrong(f'question {name} is on image {image_id}, and on image {given[1]} in {files["annotations"]}')
        yield Item(name, f'{FOLDER}/{subset}/COCO_{subset}_{image_id:012d}.jpg', record.text('question').strip(), given[0])
    _refuse(unanswered, 'questions', files['questions'], f'no annotation in {files["annotations"]}')
    _refuse(list(answers), 'annotations', files['annotations'], f'no question in {files["questions"]}')


def _answers(files: Files, advance: Advance) -> dict[str, tuple[str, int]]:
    """Answer and image by question id."""
    found: dict[str, tuple[str, int]] = {}
    for number, value in enumerate(elements(files['annotations'], advance, 'annotations')):
        record = Record(value, files['annotations'], str(number))
        name = record.name_of('question_id')
        if name in found:
            raise record.wrong(f'question {name} is annotated twice')
        found[name] = record.text('multiple_choice_answer').strip(), record.number('image_id')
    return found


def _refuse(names: list[str], what: str, where: object, why: str) -> None:
    if names:
        listed = ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
        raise DataError(f'{where}: {len(names)} {what} have {why}: {listed}. Both files must be of one split and release.')


SOURCES = {'vqav2': Source(
    'vqav2', 'VQAv2', ('VQAv2', 'VQAv2/annotations', FOLDER, f'{FOLDER}/annotations'),
    {split: {'questions': (f'v2_OpenEnded_mscoco_{subset}_questions.json',),
             'annotations': (f'v2_mscoco_{subset}_annotations.json',)}
     for split, subset in (('train', 'train2014'), ('test', 'val2014'))},
    read, 'visualqa.org (VQA v2.0)')}
