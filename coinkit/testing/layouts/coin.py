"""CoIN's and CoIN-Refined's folders as miniature: playground/Instructions_*/TASK/*.json beside cl_dataset/ with pictures.

Test rows have one `answer`, as released; what scorers need besides lies where the archives have it: problems.json,
TextVQA_0.5.1_val.json, testdev_balanced_questions.json.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from coinkit.config.instructions import COIN, asked, instruction_of
from coinkit.datasets.mini.styles import STYLES, TEN_TYPES
from coinkit.testing.layouts import official_records as records
from coinkit.testing.layouts.coin_items import IMAGES, Item, items
from coinkit.testing.layouts.written import Row, Written, test_row, train_row

TASKS = {  # task -> its folder of instructions, the name of its test file
    'ScienceQA': ('ScienceQA', 'test'), 'TextVQA': ('TextVQA', 'val'), 'ImageNet': ('ImageNet', 'test'),
    'GQA': ('GQA', 'test'), 'VizWiz': ('VizWiz', 'val'), 'Grounding': ('Grounding', 'test'), 'VQAv2': ('VQAv2', 'val'),
    'OCR-VQA': ('OCRVQA', 'test')}
COIN_FOLDERS = {'original': 'Instructions_Original', 'diverse': 'Instructions_Diverse', '10type': 'Instructions_10Type'}
REFINED = '_base_/benchmarks/coin_refined'
REFINED_FOLDERS = {'original': 'Instructions', 'diverse': 'Instructions_Diverse', '10type': 'Instructions_10Type'}


def make_coin(root: str | Path, rows: int = 24, style: str = 'original', *, test_rows: int | None = None) -> Written:
    """CoIN: `rows` training rows per task, and half as many test rows unless `test_rows` says otherwise."""
    return _make(Path(root), rows, style, test_rows, folder=COIN_FOLDERS[style], refined=False)


def make_coin_refined(root: str | Path, rows: int = 24, style: str = 'original', *, test_rows: int | None = None) -> Written:
    """CoIN-Refined (LCIA): other folder names, and ImageNet asks in one line."""
    return _make(Path(root), rows, style, test_rows, folder=REFINED_FOLDERS[style], refined=True)


def _make(root: Path, rows: int, style: str, test_rows: int | None, *, folder: str, refined: bool) -> Written:
    assert style in STYLES, style
    written = Written(root)
    counts = {'train': rows, 'test': (rows + 1) // 2 if test_rows is None else test_rows}
    for task, (name, test_file) in TASKS.items():
        splits = {split: items(task, split, count) for split, count in counts.items()}
        templates = _templates(task, style, refined)
        for split, found in splits.items():
            for item in found:
                written.put_image(f'{IMAGES}/{item.image}', item.picture)
            file = 'train' if split == 'train' else test_file
            written.put_rows(f'{task}/{split}', f'playground/{folder}/{name}/{file}.json',
                             [_row(task, item, split, _asked(task, item, templates)) for item in found])
        _annotations(written, task, splits)
    return written


def _annotations(written: Written, task: str, splits: records.Splits) -> None:
    """The official files that scorers read, where the archives have them."""
    def put(name: str, value: object) -> None:
        written.put_json(f'{task}/{name}', f'{IMAGES}/{task}/{name}.json', value)

    if task == 'ScienceQA':
        put('problems', records.scienceqa_problems(splits))
        put('pid_splits', records.scienceqa_splits(splits))
    elif task == 'TextVQA':
        put('TextVQA_0.5.1_val', records.textvqa(splits['test'], 'val'))
    elif task == 'GQA':
        put('testdev_balanced_questions', records.gqa(splits['test']))


def _row(task: str, item: Item, split: str, text: str) -> Row:
    if split == 'train':
        return train_row(item.id, item.image, text, item.answer)
    if task != 'Grounding':
        return test_row(item.id, item.image, text, answer=item.answer)
    x, y, width, height = item.extra['box']
    across, down = item.extra['size']
    corners = (x / across, y / down, (x + width) / across, (y + height) / down)
    plain = '[' + ','.join(f'{value:.2f}' for value in corners) + ']'
    return test_row(item.id, item.image, text, answer_bbox=item.answer, origin_answer_bbox=plain, size=item.extra['size'])


def _templates(task: str, style: str, refined: bool) -> tuple[str, ...]:
    """The protocol's line; the paraphrases of 10type, of which there is no list, are those of the mini stream."""
    if style != '10type':
        return (instruction_of(task, style=style, benchmark=REFINED if refined else COIN),)
    templates = TEN_TYPES['ocrvqa' if task == 'OCR-VQA' else task.lower()]
    return tuple(asked(each, 'what is the object in the image?') for each in templates) if task == 'ImageNet' else templates


def _asked(task: str, item: Item, templates: tuple[str, ...]) -> str:
    return asked(Random(f'layout/{task}/{item.id}').choice(templates), item.question)
