"""The eight mini tasks: each draws a picture, asks about it, and answers in a format of its own.

They are named after CoIN's tasks and mirror their categories, so that tuning on one destroys the answer format, then
the skill, of the last. `meta` carries what the task's scorer needs beside the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from PIL.Image import Image

from coinkit.datasets.mini.world import (
    COLOUR_NAMES,
    SHAPE_NAMES,
    SIDE,
    Item,
    book,
    box_text,
    full_scene,
    scene,
    sign,
    spoil,
)

LETTERS = 'ABC'
NUM_REFERENCES_TEXTVQA = 10  # the m4c scorer wants exactly ten; a drawn sign has one truth, repeated


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, the question without its instruction, the answer in the task's own format, the scorer's context."""

    image: Image
    question: str
    answer: str
    meta: Mapping[str, Any] = field(default_factory=dict)


def scienceqa(rng: Random) -> Drawn:
    """Which of three objects is nearest a side, by at least six pixels? Answer: an option's letter."""
    image, items, side = _with_a_winner(rng)
    best = min(items, key=lambda item: _distance(item, side))
    options = items[:]
    rng.shuffle(options)
    listed = ' '.join(f'{letter}. {item.name}' for letter, item in zip(LETTERS, options, strict=True))
    gold = options.index(best)
    meta = {'choices': [item.name for item in options], 'num_choices': len(options), 'gold_index': gold}
    return Drawn(image, f'which object is nearest the {side}? {listed}', LETTERS[gold], meta)


def _distance(item: Item, side: str) -> int:
    """Distance of an object's middle from a side, up to a constant."""
    return {'left': item.x, 'right': -item.x, 'top': item.y, 'bottom': -item.y}[side]


def _with_a_winner(rng: Random) -> tuple[Image, list[Item], str]:
    while True:
        image, items = full_scene(rng, 3)
        side = rng.choice(('left', 'right', 'top', 'bottom'))
        first, second, _ = sorted(_distance(item, side) for item in items)
        if second - first >= 6:
            return image, items, side


def textvqa(rng: Random) -> Drawn:
    """What does the sign say? Answer: the word."""
    plate = sign(rng)
    return Drawn(plate.image, 'what is written on the sign?', plate.text)


def imagenet(rng: Random) -> Drawn:
    """Name the shape."""
    image, items = scene(rng, 1)
    return Drawn(image, 'what is the object in the image?', items[0].shape)


def gqa(rng: Random) -> Drawn:
    """A relation, an attribute or a presence. Answer: yes, no or a colour."""
    image, (a, b) = full_scene(rng, 2)
    meta = {'is_balanced': True}
    if rng.random() < .5:
        return Drawn(image, f'is the {a.name} left of the {b.name}?', 'yes' if a.x < b.x else 'no', meta)
    if a.shape != b.shape and rng.random() < .8:
        return Drawn(image, f'what color is the {b.shape}?', b.colour, meta)
    if rng.random() < .5:
        return Drawn(image, f'is there a {b.name}?', 'yes', meta)
    return Drawn(image, f'is there a {_absent(rng, (a, b))}?', 'no', meta)


def _absent(rng: Random, items: tuple[Item, ...]) -> str:
    """A colour-and-shape name that is not in the picture but shares its colour or its shape with an object there."""
    here = {item.name for item in items}
    while True:
        item = rng.choice(items)
        colour, shape = rng.choice(COLOUR_NAMES), rng.choice(SHAPE_NAMES)
        name = f'{item.colour} {shape}' if rng.random() < .5 else f'{colour} {item.shape}'
        if name not in here:
            return name


def vizwiz(rng: Random) -> Drawn:
    """The colour of one object, or `unanswerable` where the picture is spoilt."""
    image, items = scene(rng, 1)
    if rng.random() < .5:
        return Drawn(spoil(rng, image), 'what color is this?', 'unanswerable')
    return Drawn(image, 'what color is this?', items[0].colour)


def grounding(rng: Random) -> Drawn:
    """Where is it? Answer: `[x1,y1,x2,y2]` in 0..1; the pictures are square, so padding changes nothing."""
    image, items = scene(rng, rng.randint(2, 3))
    wanted = rng.choice(items)
    answer = box_text(wanted.box)
    return Drawn(image, wanted.name, answer, {'answer_bbox': answer, 'size': [SIDE, SIDE]})


def vqav2(rng: Random) -> Drawn:
    """How many objects, or how many small or large ones? Answer: a digit."""
    image, items = scene(rng)
    if rng.random() < .6:
        return Drawn(image, 'how many objects are there?', str(len(items)))
    size = rng.choice(('small', 'large'))
    return Drawn(image, f'how many {size} objects are there?', str(sum(item.size == size for item in items)))


def ocrvqa(rng: Random) -> Drawn:
    """Title, author or genre from a book cover."""
    cover = book(rng)
    question, answer = rng.choice((('what is the title of this book?', cover.title),
                                   ('who wrote this book?', cover.author),
                                   ('what is the genre of this book?', cover.genre)))
    return Drawn(cover.image, question, answer)


TASKS: dict[str, Callable[[Random], Drawn]] = {
    'scienceqa': scienceqa, 'textvqa': textvqa, 'imagenet': imagenet, 'gqa': gqa, 'vizwiz': vizwiz,
    'grounding': grounding, 'vqav2': vqav2, 'ocrvqa': ocrvqa}
NAMES: dict[str, str] = {
    'scienceqa': 'ScienceQA', 'textvqa': 'TextVQA', 'imagenet': 'ImageNet', 'gqa': 'GQA', 'vizwiz': 'VizWiz',
    'grounding': 'Grounding', 'vqav2': 'VQAv2', 'ocrvqa': 'OCR-VQA'}


def references(kind: str, answer: str) -> tuple[str, ...]:
    """The gold answers of a test row as its scorer wants them."""
    return (answer,) * (NUM_REFERENCES_TEXTVQA if kind == 'textvqa' else 1)
