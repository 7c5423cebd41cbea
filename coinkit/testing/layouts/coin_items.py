"""The questions of the eight CoIN tasks as miniature: drawn as in the mini stream, named as the official files name them.

The same items become CoIN's instruction rows (`coin`) and the official annotation files (`official_*`), so that what a
converter makes of the one can be held against the other. Pictures of grounding are not square, so that padding matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from PIL import Image

from coinkit.datasets.mini.tasks import TASKS, Drawn
from coinkit.datasets.mini.world import SHAPE_NAMES, SIDE, WORDS, book, scene

IMAGES = 'cl_dataset'  # where CoIN keeps pictures and official annotations
COCO_TRAIN, COCO_VAL = 'COCO2014/train2014', 'COCO2014/val2014'
SYNSETS = {  # folder -> names, as in LOC_synset_mapping.txt; made-up numbers
    f'n9{number:07d}': f'{shape}, drawn {shape}' for number, shape in enumerate(SHAPE_NAMES)}
FILLER = (235, 235, 235)
BOOK_FIELDS = {'title': 'what is the title of this book?', 'author': 'who wrote this book?',
               'genre': 'what is the genre of this book?'}


@dataclass(frozen=True)
class Item:
    """One question. `image` is relative to cl_dataset ('' = none); `extra` is what official records say besides."""

    id: str
    image: str
    picture: Image.Image | None
    question: str  # with its options or phrase, without an instruction
    answer: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def items(task: str, split: str, count: int) -> list[Item]:
    """The first `count` items of a task's split ('train' or 'test'); the same every time."""
    kind = 'ocrvqa' if task == 'OCR-VQA' else task.lower()
    return [_MAKERS[task](split, index, Random(f'layout/{kind}/{split}/{index}')) for index in range(count)]


def _drawn(task: str, rng: Random) -> Drawn:
    return TASKS[task.lower()](rng)


def scienceqa(split: str, index: int, rng: Random) -> Item:
    """Every fourth problem has no picture."""
    pid = str(2 * index + (split == 'test') + 1)
    if index % 4 == 3:
        options = rng.sample(WORDS, 4)
        gold = rng.randrange(4)
        while sum(word[0] == options[gold][0] for word in options) > 1:
            options = rng.sample(WORDS, 4)
        question, picture, image = f'which word begins with {options[gold][0]}?', None, ''
    else:
        drawn = _drawn('ScienceQA', rng)
        options, gold = drawn.meta['choices'], drawn.meta['gold_index']
        question, picture = drawn.question.partition('?')[0] + '?', drawn.image
        image = f'ScienceQA/images/{split}/{pid}/image.png'
    letters = 'ABCDE'
    listed = '\n'.join(f'{letter}. {option}' for letter, option in zip(letters, options, strict=False))
    extra = {'question': question, 'choices': list(options), 'gold': gold}
    return Item(pid, image, picture, f'{question}\n{listed}', letters[gold], extra)


def textvqa(split: str, index: int, rng: Random) -> Item:
    drawn = _drawn('TextVQA', rng)
    image_id = f'{rng.getrandbits(64):016x}'
    heard = [drawn.answer] * 7 + ['unreadable', drawn.answer + 's', 'unreadable']
    rng.shuffle(heard)
    name = str(index if split == 'train' else 34602 + index)
    return Item(name, f'TextVQA/train_images/{image_id}.jpg', drawn.image, drawn.question, drawn.answer,
                {'image_id': image_id, 'answers': heard})


def imagenet(split: str, index: int, rng: Random) -> Item:
    drawn = _drawn('ImageNet', rng)
    folder = next(folder for folder, names in SYNSETS.items() if names.split(',')[0] == drawn.answer)
    image = f'ImageNet_withlabel/{split}/{folder}/{folder}_{index}.JPEG'
    return Item(f'{split}_{index}', image, drawn.image, '', drawn.answer)


def gqa(split: str, index: int, rng: Random) -> Item:
    drawn = _drawn('GQA', rng)
    image_id = str(2_300_000 + 2 * index + (split == 'test'))
    name = f'{2 * index + (split == "test"):08d}'
    return Item(name, f'GQA/images/{image_id}.jpg', drawn.image, drawn.question, drawn.answer, {'image_id': image_id})


def vizwiz(split: str, index: int, rng: Random) -> Item:
    drawn = _drawn('VizWiz', rng)
    folder = 'train' if split == 'train' else 'val'
    file = f'VizWiz_{folder}_{index:08d}.jpg'
    others = ['unsuitable', drawn.answer, 'shape']
    heard = [*[drawn.answer] * 7, *others]
    rng.shuffle(heard)
    return Item(file.removesuffix('.jpg'), f'VizWiz/{folder}/{file}', drawn.image, drawn.question, drawn.answer,
                {'file': file, 'answers': heard, 'answerable': int(drawn.answer != 'unanswerable')})


def grounding(split: str, index: int, rng: Random) -> Item:
    """A scene at a random place of a wider or a higher picture."""
    picture, objects = scene(rng, rng.randint(2, 3))
    wanted = rng.choice(objects)
    size = (SIDE + 32, SIDE) if index % 2 else (SIDE, SIDE + 16)
    left, top = rng.randint(0, size[0] - SIDE), rng.randint(0, size[1] - SIDE)
    canvas = Image.new('RGB', size, FILLER)
    canvas.paste(picture, (left, top))
    x1, y1, x2, y2 = wanted.box
    box = [float(x1 + left), float(y1 + top), float(x2 - x1), float(y2 - y1)]  # x, y, width, height in pixels
    image_id = 500_000 + 2 * index + (split == 'test')
    file = f'COCO_train2014_{image_id:012d}.jpg'
    extra = {'image_id': image_id, 'file': file, 'box': box, 'size': list(size), 'category': wanted.shape}
    return Item(f'{split}_{index}', f'{COCO_TRAIN}/{file}', canvas, wanted.name, _square(box, size), extra)


def _square(box: list[float], size: tuple[int, int]) -> str:
    """The box on the padded square, two decimals: as CoIN's rows have it."""
    (x, y, width, height), side = box, max(size)
    left, top = (side - size[0]) / 2, (side - size[1]) / 2
    corners = ((x + left) / side, (y + top) / side, (x + width + left) / side, (y + height + top) / side)
    return '[' + ','.join(f'{value:.2f}' for value in corners) + ']'


def vqav2(split: str, index: int, rng: Random) -> Item:
    drawn = _drawn('VQAv2', rng)
    folder, subset = (COCO_TRAIN, 'train2014') if split == 'train' else (COCO_VAL, 'val2014')
    image_id = 1000 + index
    heard = [*[drawn.answer] * 8, str(int(drawn.answer) + 1), 'many']
    rng.shuffle(heard)
    image = f'{folder}/COCO_{subset}_{image_id:012d}.jpg'
    extra = {'image_id': image_id, 'answers': heard}
    return Item(str(image_id * 1000), image, drawn.image, drawn.question, drawn.answer, extra)


def ocrvqa(split: str, index: int, rng: Random) -> Item:
    """Three questions per cover."""
    number, field_index = divmod(index, 3)
    cover = book(Random(f'layout/ocrvqa/{split}/{number}'))
    name = f'{"0" if split == "train" else "1"}{number:08d}X'
    key, question = list(BOOK_FIELDS.items())[field_index]
    extra = {'book': name, 'title': cover.title, 'author': cover.author, 'genre': cover.genre}
    return Item(f'{name}_{field_index}', f'OCR-VQA/images/{name}.jpg', cover.image, question, getattr(cover, key), extra)


_MAKERS: dict[str, Callable[[str, int, Random], Item]] = {
    'ScienceQA': scienceqa, 'TextVQA': textvqa, 'ImageNet': imagenet, 'GQA': gqa, 'VizWiz': vizwiz,
    'Grounding': grounding, 'VQAv2': vqav2, 'OCR-VQA': ocrvqa}
