"""UCIT's folders as miniature: instructions/TASK/*.json beside the pictures, with caption references in COCO's form.

`names='mcitlib'` gives the folder and file names of MCITlib (CLEVR-Math, train.json, test.json), 'hide' those of HiDe-LLaVA.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL.Image import Image

from coinkit.datasets.mini.tasks import TASKS as DRAWN
from coinkit.datasets.mini.world import Item, full_scene
from coinkit.testing.layouts.coin_items import SYNSETS
from coinkit.testing.layouts.written import Written, test_row, train_row

CAPTIONS = 5  # references per picture
WORD = 'answer with a single word.'


class Asked(NamedTuple):
    picture: Image
    text: str
    answer: str
    captions: tuple[str, ...] = ()


class Task(NamedTuple):
    """Where a task's files lie; `image` is a pattern of the picture's path with {split}, {index} and {folder}."""

    folder: str
    mcitlib: str
    train: str
    image: str
    ask: Callable[[Random], Asked]


def make_ucit(root: str | Path, rows: int = 24, *, names: str = 'hide', images: str = '',
              test_rows: int | None = None) -> Written:
    """All six tasks; test rows are numbered from 1, as captions are. `images` is the pictures' folder under `root`."""
    assert names in ('hide', 'mcitlib'), names
    written = Written(Path(root))
    counts = {'train': rows, 'test': (rows + 1) // 2 if test_rows is None else test_rows}
    for name, task in TASKS.items():
        folder = task.mcitlib if names == 'mcitlib' else task.folder
        for split, count in counts.items():
            asked = [task.ask(Random(f'ucit/{name}/{split}/{index}')) for index in range(count)]
            found = []
            for index, one in enumerate(asked):
                path = task.image.format(split=split, index=index, folder=_synset(one.answer))
                written.put_image(f'{images}/{path}'.lstrip('/'), one.picture)
                found.append(train_row(f'{name}_{index}', path, one.text, one.answer) if split == 'train' else
                             test_row(str(index + 1), path, one.text, answer=one.answer))
            file = {'hide': {'train': task.train, 'test': 'test_3000'}}.get(names, {}).get(split, split)
            written.put_rows(f'{name}/{split}', f'instructions/{folder}/{file}.json', found)
            if split == 'test' and asked and asked[0].captions:
                written.put_json(f'{name}/captions', f'instructions/{folder}/val_coco_type_3000.json', _coco(asked))
    return written


def _coco(asked: list[Asked]) -> dict[str, list[dict[str, object]]]:
    """References by the running number of the test row, from 1."""
    notes = [(image, caption) for image, one in enumerate(asked, 1) for caption in one.captions]
    return {'images': [{'id': image} for image in range(1, len(asked) + 1)],
            'annotations': [{'id': number, 'image_id': image, 'caption': caption}
                            for number, (image, caption) in enumerate(notes, 1)]}


def _synset(answer: str) -> str:
    return next((folder for folder, names in SYNSETS.items() if names.split(',')[0] == answer), '')


def rendition(rng: Random) -> Asked:
    drawn = DRAWN['imagenet'](rng)
    return Asked(drawn.image, f'{drawn.question}\n{WORD}', drawn.answer)


def options(rng: Random) -> Asked:
    drawn = DRAWN['scienceqa'](rng)
    return Asked(drawn.image, f'{drawn.question}\nanswer with the letter.', drawn.answer)


def counted(rng: Random) -> Asked:
    drawn = DRAWN['vqav2'](rng)
    return Asked(drawn.image, f'{drawn.question}\n{WORD}', drawn.answer)


def captioned(rng: Random) -> Asked:
    """Five ways to say what one or two objects there are; the first is the answer."""
    picture, things = full_scene(rng, rng.randint(1, 2))
    said = _said(things)
    ways = ('{}', 'there is {}', 'the picture shows {}', '{} on a pale ground', 'i see {}')
    captions = tuple(way.format(said) for way in ways[:CAPTIONS])
    return Asked(picture, 'what is happening in the image?\ndescribe it in one sentence.', captions[0], captions)


def _said(things: list[Item]) -> str:
    return ' and '.join(f'a {item.size} {item.name}' for item in sorted(things, key=lambda item: item.x))


TASKS = {
    'ImageNet-R': Task('ImageNet-R', 'ImageNet-R', 'train', 'ImageNet-R/{split}/{folder}/art_{index}.jpg', rendition),
    'ArxivQA': Task('ArxivQA', 'ArxivQA', 'train_4w', 'ArxivQA/images/{split}_{index}.jpg', options),
    'VizWiz-cap': Task('VizWiz', 'VizWiz', 'train', 'VizWiz/{split}/VizWiz_{split}_{index:08d}.jpg', captioned),
    'IconQA': Task('IconQA', 'IconQA', 'train', 'IconQA/iconqa_data/iconqa/{split}/choose_txt/{index}/image.png', options),
    'CLEVR-Math': Task('CLEVR', 'CLEVR-Math', 'train_4w', 'CLEVR/images/{split}/CLEVR_{split}_{index:06d}.png', counted),
    'Flickr30k-cap': Task('Flickr30k', 'Flickr30k', 'train_brief_4w', 'Flickr30k/{split}/{index}.jpg', captioned)}
