"""The drawn world of the mini stream: scenes of coloured shapes, signs and book covers on 64 x 64 pixels, from a seed.

Pillow draws several thousand pictures a second on one core. Every function takes the random generator it draws from,
and the order of its draws is fixed: the shipped weights were trained on pictures drawn in this order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFilter, ImageFont

VERSION = 1  # raise it when a seed no longer gives the same picture: it is part of every key and fingerprint
SIDE = 64
Point = tuple[float, float]
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    'red': (220, 40, 40), 'green': (40, 170, 60), 'blue': (50, 80, 220), 'yellow': (235, 210, 40),
    'purple': (150, 60, 190), 'orange': (240, 140, 30), 'cyan': (40, 200, 210), 'gray': (130, 130, 130)}
COLOUR_NAMES = list(COLOURS)
WORDS = (
    'ace bag cat dog ear fox gem hat ice jar key lip map net oak pen rug sun tea urn van web yak zoo bank cake '
    'desk fish gold hand iron jazz king lamp milk nest open park rice sale taxi unit vase wolf exit stop cafe '
    'shop hotel').split()
AUTHORS = 'ada bob cyd dan eve fay gus hal ivy jon kim lee mia ned ona pam ray sue tim uma vic wes'.split()
GENRES = ['art', 'law', 'math', 'poem', 'travel', 'cook']
FONTS = {size: ImageFont.load_default(size) for size in (11, 12)}


class Item(NamedTuple):
    """One object of a scene; `box` is x1, y1, x2, y2 in pixels."""

    size: str
    colour: str
    shape: str
    box: tuple[int, int, int, int]
    x: int
    y: int
    radius: int

    @property
    def name(self) -> str:
        return f'{self.colour} {self.shape}'


class Sign(NamedTuple):
    image: Image.Image
    text: str
    colour: str


class Book(NamedTuple):
    image: Image.Image
    title: str
    author: str
    genre: str


def _polygon(corners: int, radius: float, turn: float = 0.0, inner: float | None = None) -> list[Point]:
    """Corners of a regular polygon, or of a star when `inner` gives the ratio of its inner radius."""
    count = corners * 2 if inner else corners
    radii = [radius * inner if inner and i % 2 else radius for i in range(count)]
    angles = [turn + 2 * math.pi * i / count for i in range(count)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _scaled(points: list[Point]) -> Callable[[float], list[Point]]:
    return lambda r: [(r * x, r * y) for x, y in points]


POLYGONS: dict[str, Callable[[float], list[Point]]] = {
    'triangle': lambda r: _polygon(3, r, -math.pi / 2),
    'square': lambda r: _polygon(4, r, math.pi / 4),
    'diamond': lambda r: _polygon(4, r),
    'pentagon': lambda r: _polygon(5, r, -math.pi / 2),
    'hexagon': lambda r: _polygon(6, r),
    'star': lambda r: _polygon(5, r, -math.pi / 2, 0.42),
    'cross': _scaled([(-.3, -1), (.3, -1), (.3, -.3), (1, -.3), (1, .3), (.3, .3), (.3, 1), (-.3, 1), (-.3, .3),
                      (-1, .3), (-1, -.3), (-.3, -.3)]),
    'arrow': _scaled([(-1, -.3), (0, -.3), (0, -.8), (1, 0), (0, .8), (0, .3), (-1, .3)])}
SHAPE_NAMES = [*POLYGONS, 'circle', 'ring', 'moon', 'heart']


def draw_shape(draw: ImageDraw.ImageDraw, shape: str, colour: str, x: float, y: float, r: float,
               background: Colour) -> None:
    """Paint one shape of radius `r` around (x, y); rings and moons are cut out with the background."""
    fill = COLOURS[colour]
    if shape in POLYGONS:
        draw.polygon([(x + a, y + b) for a, b in POLYGONS[shape](r)], fill=fill)
    elif shape == 'heart':
        draw.pieslice([x - r, y - r, x + r * .05, y + r * .2], 180, 360, fill=fill)
        draw.pieslice([x - r * .05, y - r, x + r, y + r * .2], 180, 360, fill=fill)
        draw.polygon([(x - r, y - r * .38), (x + r, y - r * .38), (x, y + r)], fill=fill)
    else:
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)
        if shape == 'ring':
            draw.ellipse([x - r * .5, y - r * .5, x + r * .5, y + r * .5], fill=background)
        elif shape == 'moon':
            draw.ellipse([x - r * .2, y - r * .9, x + r * 1.3, y + r * .6], fill=background)


def pale(rng: Random) -> Colour:
    """A background colour no object has."""
    return (rng.randint(225, 255), rng.randint(225, 255), rng.randint(225, 255))


def _canvas(colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new('RGB', (SIDE, SIDE), colour)
    return image, ImageDraw.Draw(image)


def scene(rng: Random, count: int | None = None, most: int = 4) -> tuple[Image.Image, list[Item]]:
    """Up to `count` objects (drawn from 1 to `most` when None), none overlapping, no colour-and-shape pair twice."""
    background = pale(rng)
    image, draw = _canvas(background)
    items: list[Item] = []
    for _ in range(count or rng.randint(1, most)):
        item = _place(rng, items)
        if item is not None:
            draw_shape(draw, item.shape, item.colour, item.x, item.y, item.radius, background)
            items.append(item)
    return image, items


def _place(rng: Random, items: list[Item]) -> Item | None:
    """A new object beside those already there, or None after thirty failures."""
    for _ in range(30):
        r = rng.choice((6, 7, 10, 12))
        x, y = rng.randint(r + 1, SIDE - r - 1), rng.randint(r + 1, SIDE - r - 1)
        colour, shape = rng.choice(COLOUR_NAMES), rng.choice(SHAPE_NAMES)
        if any((o.colour, o.shape) == (colour, shape) for o in items):
            continue
        if not any(abs(x - o.x) < r + o.radius + 1 and abs(y - o.y) < r + o.radius + 1 for o in items):
            return Item('small' if r < 9 else 'large', colour, shape, (x - r, y - r, x + r, y + r), x, y, r)
    return None


def full_scene(rng: Random, count: int) -> tuple[Image.Image, list[Item]]:
    """A scene of exactly `count` objects: drawn again until they all found room."""
    while True:
        image, items = scene(rng, count)
        if len(items) == count:
            return image, items


def sign(rng: Random) -> Sign:
    """A coloured plate with a known word, random letters or a number."""
    image, draw = _canvas(pale(rng))
    if rng.random() < .5:
        text = rng.choice(WORDS)
    else:
        text = ''.join(rng.choice('abcdefghijklmnopqrstuvwxyz') for _ in range(rng.randint(3, 5)))
    if rng.random() < .3:
        text = str(rng.randint(0, 9999))
    font, colour = FONTS[rng.choice((11, 12))], rng.choice(COLOUR_NAMES)
    x, y = rng.randint(3, 22), rng.randint(3, 46)
    draw.rectangle([x - 2, y - 1, x + draw.textlength(text, font=font) + 2, y + 14], fill=COLOURS[colour])
    draw.text((x, y), text, fill=(0, 0, 0) if colour in ('yellow', 'cyan') else (255, 255, 255), font=font)
    return Sign(image, text, colour)


def book(rng: Random) -> Book:
    """A book cover with its title, author and genre."""
    red, green, blue = COLOURS[rng.choice(COLOUR_NAMES)]
    cover = tuple(min(255, value // 2 + 120) for value in (red, green, blue))
    image, draw = _canvas((250, 250, 250))
    draw.rectangle([5, 2, 58, 61], fill=cover, outline=(0, 0, 0))
    title, author, genre, y = rng.choice(WORDS), rng.choice(AUTHORS), rng.choice(GENRES), rng.randint(4, 12)
    draw.text((10, y), title, fill=(0, 0, 0), font=FONTS[12])
    draw.text((10, y + 18), 'by ' + author, fill=(40, 40, 40), font=FONTS[11])
    draw.text((10, y + 34), genre, fill=(90, 0, 0), font=FONTS[11])
    return Book(image, title, author, genre)


def spoil(rng: Random, image: Image.Image) -> Image.Image:
    """The picture so blurred, dark or bright that no colour can be named."""
    how = rng.choice(('blur', 'dark', 'bright'))
    if how == 'blur':
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(5, 8)))
    return image.point(lambda v: v * 0.06 if how == 'dark' else 240 + v * 0.05)


def box_text(box: tuple[int, int, int, int]) -> str:
    """`[x1,y1,x2,y2]` in 0..1 of the picture with two decimals, as CoIN's grounding answers are written."""
    return '[' + ','.join(f'{min(max(value, 0), SIDE) / SIDE:.2f}' for value in box) + ']'
