"""Referring expressions: read a box out of the answer, right when its IoU with gold is above one half.

CoIN pads images to a square, so gold boxes live on the expanded square (`expand_box`). The published parser drops the
first and the last character of the answer, so that only two-decimal boxes survive; the default reads the first four
numbers. Sources: zackschen/CoIN@41224655 `eval_grounding.py` (LLaVA and MiniGPT). Context: `size` [w, h].
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from coinkit.data.boxes import Box as Box
from coinkit.data.boxes import expand_box as expand_box  # gold boxes are made by it, and golden vectors pin it here
from coinkit.errors import ConfigError, DataError, Problem
from coinkit.metrics.base import UNPARSED, ItemMetric, Verdict, short, verdict
from coinkit.metrics.switches import MODES, Mode
from coinkit.types import Prediction

_NUMBER = re.compile(r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE)
# Zeros, integers and '.25' are not found, so that later numbers slide forward. Published as [1-9]\d*\.\d*|0\.\d*[1-9]\d*,
# which takes quadratic time on long digits; the look-behind starts each run of digits once and finds the same numbers.
_MINIGPT_NUMBER = re.compile(r'(?<![0-9])0*+(?:[1-9]\d*+\.\d*|(?<=0)\.\d*[1-9]\d*)')
_LONGEST_SIDE = 1e9  # pixels
_MINIGPT_NATIVE = re.compile(r'\{\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*<(\d+)>\s*\}')


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two xyxy boxes with signed areas; 0 when the union is not positive."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return 0.0 if union <= 0 else shared / union


def four_floats(parts: Sequence[str | float]) -> Box | None:
    """Exactly four parts that `float` reads, or None."""
    if len(parts) != 4:
        return None
    try:
        x1, y1, x2, y2 = map(float, parts)
    except (ValueError, TypeError, OverflowError):
        return None
    return x1, y1, x2, y2


def parse_coin(text: str) -> Box | None:
    """The published parser: brackets out, first and last character dropped, four numbers between commas."""
    return four_floats(text.replace('[', '').replace(']', '')[1:-1].split(','))


def parse_numbers(text: str) -> Box | None:
    """The first four numbers of the text; fewer, or one that is not finite: None."""
    box = four_floats([hit.group() for hit, _ in zip(_NUMBER.finditer(text), range(4), strict=False)])
    return box if box and all(map(math.isfinite, box)) else None


def parse_minigpt(text: str) -> Box | None:
    """The published MiniGPT-v2 parser: the first four decimals that are not zero."""
    return four_floats(_MINIGPT_NUMBER.findall(text)[:4])


def parse_minigpt_default(text: str) -> Box | None:
    """MiniGPT-v2's native `{<25><30><75><80>}` as hundredths, else the first four numbers."""
    native = _MINIGPT_NATIVE.search(text)
    if native is None:
        return parse_numbers(text)
    x1, y1, x2, y2 = (float(part) / 100 for part in native.groups())
    return (x1, y1, x2, y2) if math.isfinite(x1 + y1 + x2 + y2) else None


class _Grounding(ItemMetric):
    """Accuracy at an IoU threshold; a subclass says how the answer is read and where gold is."""

    own_gold = False  # the references of a row that has both boxes are those on the padded square
    parse_switch = ''
    parsers = {'upstream': parse_coin, 'default': parse_numbers}

    def __init__(self, *, mode: Mode, iou_threshold: float, iou_inclusive: bool | Mode, **switches: str | None):
        super().__init__(mode=mode, **switches)
        if iou_inclusive in MODES:  # as the other switches are called: neither counts an IoU at the threshold
            iou_inclusive = False
        problems = []
        if isinstance(iou_threshold, bool) or not isinstance(iou_threshold, int | float) or not 0 <= iou_threshold <= 1:
            problems.append(Problem(f'metric {self.name}: iou_threshold',
                                    f'{iou_threshold!r} given, a number from 0 to 1 wanted.'))
        if not isinstance(iou_inclusive, bool):
            problems.append(Problem(f'metric {self.name}: iou_inclusive',
                                    f'{iou_inclusive!r} given, True or False wanted.'))
        if problems:
            raise ConfigError(problems)
        self.iou_threshold, self.iou_inclusive = iou_threshold, iou_inclusive
        self.switches = {**self.switches, 'iou_threshold': iou_threshold, 'iou_inclusive': iou_inclusive}

    def parse(self, text: str) -> Box | None:
        """The box that the answer is read as, or None."""
        return self.parsers[self.switches[self.parse_switch]](text)

    def judge(self, item: Prediction) -> Verdict:
        gold, box = self.gold(item), self.parse(item.prediction)
        if box is None:
            return UNPARSED
        scale = self.scale(item)
        overlap = iou([scale * value for value in box], [scale * value for value in gold])
        return verdict(overlap > self.iou_threshold or self.iou_inclusive and overlap == self.iou_threshold)

    def gold(self, item: Prediction) -> Box:
        """`references[0]`, else the context's annotation (`own_gold`: first): four numbers, or text in brackets."""
        own = item.context.get(self.gold_keys[0])
        given = own if own is not None and self.own_gold else item.references[0] if item.references else own
        text = given.replace('[', '').replace(']', '').split(',') if isinstance(given, str) else given
        box = four_floats(text) if isinstance(text, list | tuple) else None
        if box is None or not all(map(math.isfinite, box)):
            raise DataError(f"prediction '{item.id}': gold box is {short(given)}; {self.name} needs '[x1,y1,x2,y2]' in "
                            f'references or in context {self.gold_keys[0]}.')
        return box

    def scale(self, item: Prediction) -> float:
        return 1.0


class GroundingCoin(_Grounding):
    """`grounding_coin` (alias `grounding_coin_upstream`): boxes on the padded square."""

    name = 'grounding_coin'
    gold_keys = ('answer_bbox',)
    parse_switch = 'grounding_parse'

    def __init__(self, *, mode: Mode = 'default', grounding_parse: Mode | None = None,
                 denominator: Mode | None = None, iou_threshold: float = 0.5, iou_inclusive: bool | Mode = False):
        super().__init__(mode=mode, grounding_parse=grounding_parse, denominator=denominator,
                         iou_threshold=iou_threshold, iou_inclusive=iou_inclusive)

    def scale(self, item: Prediction) -> float:
        """Boxes are compared in pixels of the padded square, as published: rounding then decides IoU 0.5 alike."""
        size = item.context.get('size')
        if size is None:
            return 1.0
        if not isinstance(size, list | tuple) or len(size) != 2 or not all(map(_is_side, size)):
            raise DataError(f"prediction '{item.id}': context has size={short(size)}; [width, height] in pixels is needed.")
        return float(max(size))


def _is_side(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST_SIDE


class GroundingMiniGPT(_Grounding):
    """`grounding_minigpt` (alias `grounding_minigpt_upstream`): boxes on the unpadded image, compared as they are."""

    name = 'grounding_minigpt'
    gold_keys = ('origin_answer_bbox',)
    own_gold = True
    parse_switch = 'minigpt_grounding_parse'
    parsers = {'upstream': parse_minigpt, 'default': parse_minigpt_default}

    def __init__(self, *, mode: Mode = 'default', minigpt_grounding_parse: Mode | None = None,
                 denominator: Mode | None = None, iou_threshold: float = 0.5, iou_inclusive: bool | Mode = False):
        super().__init__(mode=mode, minigpt_grounding_parse=minigpt_grounding_parse, denominator=denominator,
                         iou_threshold=iou_threshold, iou_inclusive=iou_inclusive)
