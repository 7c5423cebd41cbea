"""Why answers were wrong: in format (the model knows it and says it wrongly), in knowledge, or not judged; per cell.

Among the items that the truth scorer does not count fully right: *format* when the judge gives at least the threshold (8 of
10), *knowledge* when it gives less, *unjudged* when there is no readable judgement. Without a judge, *format* means right
under the lenient form of the same scorer (lenient.py). An item of value v costs 100 * (1 - v) / items percent points, so the
points of a cell add up to what it lacks to 100, and the drop A[j][j] -> A[i][j] is split into exact shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.judges.parse import Reading

FORMAT, KNOWLEDGE, UNJUDGED = KINDS = ('format', 'knowledge', 'unjudged')


@dataclass(frozen=True, slots=True)
class Split:
    """The failures of one cell: how many of each kind, and what they cost in percent points."""

    items: int
    counts: Mapping[str, int]
    points: Mapping[str, float]

    @property
    def wrong(self) -> int:
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        return {'items': self.items, 'wrong': self.wrong, **self.counts, 'points': dict(self.points)}


def kind_by_judge(reading: Reading | None, threshold: float) -> str:
    """What a wrong answer is by the judge's reading; None = the judge was not asked or has not answered."""
    if reading is None or not reading.parsed:
        return UNJUDGED
    return FORMAT if reading.value >= threshold else KNOWLEDGE


def kind_by_lenience(right: bool | None) -> str:
    """What a wrong answer is without a judge; None = there is no answer at all."""
    return UNJUDGED if right is None else FORMAT if right else KNOWLEDGE


def split(values: Sequence[float | None], kinds: Sequence[str], items: int) -> Split:
    """`values` are the truth scorer's per item, 0 to 1, None where an item does not count; `items` is its denominator."""
    lost = [(kind, 1.0 - value) for value, kind in zip(values, kinds, strict=True) if value is not None and value < 1]
    counts = {kind: sum(each == kind for each, _ in lost) for kind in KINDS}
    points = {kind: 100 * math.fsum(share for each, share in lost if each == kind) / items if items else 0.0
              for kind in KINDS}
    return Split(items, counts, points)


def drop(learned: Split, later: Split, score_learned: float, score_later: float) -> dict[str, Any]:
    """The drop from right after learning to a later stage, and what each kind of failure has to do with it.

    `points` may be negative (fewer failures of that kind than before); `shares` are fractions of their sum, which is the
    drop of every scorer that is a mean over items, and null when nothing was lost.
    """
    points = {kind: later.points[kind] - learned.points[kind] for kind in KINDS}
    lost = math.fsum(points.values())
    shares = {kind: value / lost for kind, value in points.items()} if lost > 1e-9 else None
    return {'from': score_learned, 'to': score_later, 'drop': score_learned - score_later, 'points': points,
            'shares': shares}
