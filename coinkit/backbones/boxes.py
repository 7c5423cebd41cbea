"""Boxes as the three models write them, converted both ways, so that one grounding task serves all.

    coin      [0.10,0.25,0.55,0.80]            parts of the picture padded to a square (CoIN's records and scorer)
    qwen      <box>(100,250),(550,800)</box>   thousandths of the picture itself
    minigpt   {<10><25><55><80>}               hundredths of the picture itself

In between stands a box x1, y1, x2, y2 in parts of the picture's own width and height. Integers are cut as published
(`int(part * scale)`); a hair is added first, so that 29 hundredths do not become 28.

Texts hold other lists and points too. Four numbers in brackets are a box of a record only when one of them is written
with a decimal point and they are parts in order (x1 < x2, y1 < y2); the models' own forms have marks of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Box = tuple[float, float, float, float]
Size = tuple[int, int]  # width, height
_HAIR = 1e-6
_NUMBER = r'\s*([01]?\.\d+|[01])\s*'


@dataclass(frozen=True)
class BoxFormat:
    """One way to write a box. `read` takes the four written numbers, `write` a box; both know the picture's size.

    `is_box` says whether text that fits the pattern is one.
    """

    name: str
    pattern: re.Pattern[str]
    read: Callable[[Box, Size], Box]
    write: Callable[[Box, Size], str]
    is_box: Callable[[str, Box], bool] = lambda text, box: True

    def convert(self, text: str, to: BoxFormat, size: Size) -> str:
        """`text` with every box of this format written in the other one."""
        def written(match: re.Match[str]) -> str:
            x1, y1, x2, y2 = map(float, match.groups())
            box = x1, y1, x2, y2
            return to.write(self.read(box, size), size) if self.is_box(match[0], box) else match[0]

        return self.pattern.sub(written, text)


def _from_square(box: Box, size: Size) -> Box:
    return _moved(box, size, lambda value, edge, side: (value * side - (side - edge) / 2) / edge)


def _to_square(box: Box, size: Size) -> Box:
    return _moved(box, size, lambda value, edge, side: (value * edge + (side - edge) / 2) / side)


def _moved(box: Box, size: Size, move: Callable[[float, float, float], float]) -> Box:
    """Each coordinate by its own edge and the longer side, kept inside the picture."""
    (x1, y1, x2, y2), (width, height), side = box, size, max(size)
    moved = move(x1, width, side), move(y1, height, side), move(x2, width, side), move(y2, height, side)
    return tuple(min(max(value, 0.0), 1.0) for value in moved)


def _whole(box: Box, scale: int) -> list[int]:
    return [int(min(max(value, 0.0), 1.0) * scale + _HAIR) for value in box]


def _is_coin(text: str, box: Box) -> bool:
    x1, y1, x2, y2 = box
    return '.' in text and x1 < x2 <= 1 and y1 < y2 <= 1


def _write_coin(box: Box, size: Size) -> str:
    return '[' + ','.join(f'{value:.3f}' for value in _to_square(box, size)) + ']'


def _write_qwen(box: Box, size: Size) -> str:
    x1, y1, x2, y2 = _whole(box, 1000)
    return f'<box>({x1},{y1}),({x2},{y2})</box>'


def _write_minigpt(box: Box, size: Size) -> str:
    return '{' + ''.join(f'<{value}>' for value in _whole(box, 100)) + '}'


def _parts_of(scale: int) -> Callable[[Box, Size], Box]:
    return lambda box, size: tuple(min(value / scale, 1.0) for value in box)


_PAIR = r'\(\s*(\d+)\s*,\s*(\d+)\s*\)'
COIN = BoxFormat('coin', re.compile(rf'\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]'), _from_square, _write_coin,
                 _is_coin)
QWEN = BoxFormat('qwen', re.compile(rf'<box>\s*{_PAIR}\s*,\s*{_PAIR}(?:\s*</box>)?'), _parts_of(1000), _write_qwen)
MINIGPT = BoxFormat('minigpt', re.compile(r'\{\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*\}'), _parts_of(100),
                    _write_minigpt)
FORMATS = {one.name: one for one in (COIN, QWEN, MINIGPT)}
