"""MLLM-CL's two folders as miniature: domain (RS, Med, AD, Sci, Fin) and ability (OCR, Math, VP, APP), with their router and
replay files, under the names of the data card or, with `old_names`, those of the released scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from PIL import Image

from coinkit.datasets.mini.tasks import LETTERS
from coinkit.datasets.mini.tasks import TASKS as DRAWN
from coinkit.datasets.mini.world import COLOUR_NAMES, SHAPE_NAMES, SIDE, full_scene, scene, sign
from coinkit.testing.layouts.written import Row, Written, test_row, train_row

OLD_DOMAIN = {'RS': 'RemoteSensing', 'Med': 'Medical/data', 'AD': 'AD/DriveLM'}
OLD_ABILITY = {'Math': 'math2', 'VP': 'tallyqa150k', 'VP_test': 'CV-Benchv2', 'APP': 'App'}
SAMPLES = 20  # rows per task of a router's or a replay's file
SCIENCE = ('AI2D', 'TQA', 'VQA', 'SciVerse', 'MapQA')


class Asked(NamedTuple):
    """One question and what its test row says besides."""

    picture: Image.Image
    text: str
    answer: Any  # a text, or a list of texts that all count
    image: str = ''  # beginning of the picture's file name
    more: Mapping[str, Any] = {}


def make_mllm_cl_domain(root: str | Path, rows: int = 24, *, old_names: bool = False,
                        test_rows: int | None = None) -> Written:
    """{RS,Med,AD,Sci,Fin}/{images/,train.json,test.json}, task5Router_train20.json, task5replay20_train.json."""
    written = Written(Path(root))
    trained = {}
    for task, ask in _DOMAIN.items():
        folder = OLD_DOMAIN.get(task, task) if old_names else task
        trained[task] = _task(written, task, ask, {'train': folder, 'test': folder}, rows, test_rows)
    _router_and_replay(written, trained, samples='num5sample_images20', router='task5Router_train20.json',
                       replay='task5replay20_train.json', name='DCL')
    return written


def make_mllm_cl_ability(root: str | Path, rows: int = 24, *, old_names: bool = False,
                         test_rows: int | None = None) -> Written:
    """{OCR,Math,VP,APP}/ for training and {..}_test/ for testing, Router_train20.json, replay20.json."""
    written = Written(Path(root))
    trained = {}
    for task, ask in _ABILITY.items():
        folders = {'train': task, 'test': f'{task}_test'}
        if old_names:
            folders = {split: OLD_ABILITY.get(folder, folder) for split, folder in folders.items()}
        file = 'train_without_dense_caption' if task == 'OCR' else 'train'
        trained[task] = _task(written, task, ask, folders, rows, test_rows, train_file=file)
    _router_and_replay(written, trained, samples='sample_images20', router='Router_train20.json', replay='replay20.json',
                       name='ACL')
    return written


def _task(written: Written, task: str, ask: Callable[[Random, bool], Asked], folders: Mapping[str, str], rows: int,
          test_rows: int | None, *, train_file: str = 'train') -> list[Row]:
    """Both files of a task; image paths are relative to the task's folder. Returns the training rows."""
    counts = {'train': rows, 'test': (rows + 1) // 2 if test_rows is None else test_rows}
    for split, count in counts.items():
        found = []
        for index in range(count):
            one = ask(Random(f'mllm_cl/{task}/{split}/{index}'), split == 'test')
            image = f'images/{one.image}{split}_{index:06d}.png'
            written.put_image(f'{folders[split]}/{image}', one.picture)
            if split == 'train':
                found.append(train_row(f'{task}_{index}', image, one.text, one.answer))
            else:
                name = f'ALL_{index}' if task == 'APP' else str(index)
                found.append(test_row(name, image, one.text, answer=one.answer, **one.more))
        file = train_file if split == 'train' else 'test'
        written.put_rows(f'{task}/{split}', f'{folders[split]}/{file}.json', found)
    return written.rows[f'{task}/train']


def _router_and_replay(written: Written, trained: Mapping[str, list[Row]], *, samples: str, router: str, replay: str,
                       name: str) -> None:
    """A few rows per task with their pictures in one folder; a router's answers are the letters of the tasks.

    Paths are relative to the root. router_*/taskN.json hold the rows of tasks 1 to N; the first is empty.
    """
    kept: dict[str, list[Row]] = {}
    for task, rows in trained.items():
        kept[task] = []
        for row in rows[:SAMPLES]:
            source = written.files[f'{task}/train'].parent / row['image']
            image = f'{samples}/{task}_{Path(row["image"]).name}'
            written.put_image(image, Image.open(source).convert('RGB'))
            kept[task].append({**row, 'image': image})
    letters = {task: letter for task, letter in zip(trained, 'ABCDE', strict=False)}
    routed = {task: [train_row(f'router_{row["id"]}', row['image'], _question(row), letters[task]) for row in rows]
              for task, rows in kept.items()}
    tasks = list(trained)
    written.put_rows('router', router, [row for task in tasks for row in routed[task]])
    written.put_rows('replay', replay, [*_whole(written, tasks[-1]), *(row for task in tasks[:-1] for row in kept[task])])
    for number in range(1, len(tasks) + 1):
        rows = [row for task in tasks[:number] for row in routed[task]] if number > 1 else []
        written.put_rows(f'router/{number}', f'router_{name}/task{number}.json', rows)


def _whole(written: Written, task: str) -> list[Row]:
    """All training rows of a task, with paths relative to the root."""
    folder = written.files[f'{task}/train'].parent.relative_to(written.root)
    return [{**row, 'image': f'{folder}/{row["image"]}'} for row in written.rows[f'{task}/train']]


def _question(row: Row) -> str:
    return row['conversations'][0]['value'].removeprefix('<image>\n')


def remote_sensing(rng: Random, test: bool) -> Asked:
    drawn = DRAWN['vqav2'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer)


def medicine(rng: Random, test: bool) -> Asked:
    drawn = DRAWN['gqa'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer)


def driving(rng: Random, test: bool) -> Asked:
    """Six views in two rows of three."""
    mosaic, names = Image.new('RGB', (3 * SIDE, 2 * SIDE)), set()
    for place in range(6):
        view, things = scene(rng, 1)
        mosaic.paste(view, (place % 3 * SIDE, place // 3 * SIDE))
        names.add(things[0].name)
    wanted = rng.choice(sorted(names)) if rng.random() < .5 else f'{rng.choice(COLOUR_NAMES)} {rng.choice(SHAPE_NAMES)}'
    return Asked(mosaic, f'is there a {wanted} around the car?', 'yes' if wanted in names else 'no')


def science(rng: Random, test: bool) -> Asked:
    """Pictures named after five data sets; maps ask for a list."""
    family = rng.choice(SCIENCE)
    if family == 'MapQA':
        picture, things = full_scene(rng, 2)
        return Asked(picture, 'Which states are shown?', ', '.join(item.shape for item in things), 'MapQA_')
    drawn = DRAWN['scienceqa'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer, f'{family}_')


def finance(rng: Random, test: bool) -> Asked:
    """Yes or No, or an option's letter."""
    if rng.random() < .5:
        picture, (item,) = full_scene(rng, 1)
        wanted = item.size if rng.random() < .5 else rng.choice(('small', 'large'))
        return Asked(picture, f'is it {wanted}?', 'Yes' if wanted == item.size else 'No')
    drawn = DRAWN['scienceqa'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer)


def reading(rng: Random, test: bool) -> Asked:
    plate = sign(rng)
    answer = [plate.text, plate.text.upper()] if test else plate.text
    return Asked(plate.image, 'what is written in the image?', answer,
                 more={'answer_type': 'Regular Text Recognition', 'dataset_name': 'IIIT5K'})


def mathematics(rng: Random, test: bool) -> Asked:
    """A count (free form), or options."""
    if rng.random() < .5:
        drawn = DRAWN['vqav2'](rng)
        return Asked(drawn.image, drawn.question, drawn.answer,
                     more={'question_type': 'free_form', 'answer_type': 'integer', 'choices': None})
    drawn = DRAWN['scienceqa'](rng)
    choices = list(drawn.meta['choices'])
    answer = choices[LETTERS.index(drawn.answer)] if test else drawn.answer
    return Asked(drawn.image, drawn.question, answer, more={
        'question_type': 'multi_choice', 'answer_type': 'text', 'choices': choices, 'answer_option': drawn.answer})


def counting(rng: Random, test: bool) -> Asked:
    """A count; in the test also relations, of which the scorer keeps the counts apart."""
    if test and rng.random() < .3:
        drawn = DRAWN['gqa'](rng)
        return Asked(drawn.image, drawn.question, drawn.answer, more={'type': '2D', 'task': 'Relation'})
    drawn = DRAWN['vqav2'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer, more={'type': '2D', 'task': 'Count'})


def apps(rng: Random, test: bool) -> Asked:
    drawn = DRAWN['scienceqa'](rng)
    return Asked(drawn.image, drawn.question, drawn.answer)


_DOMAIN = {'RS': remote_sensing, 'Med': medicine, 'AD': driving, 'Sci': science, 'Fin': finance}
_ABILITY = {'OCR': reading, 'Math': mathematics, 'VP': counting, 'APP': apps}
