"""ST-VQA: accuracy against any reference, and ANLS, which forgives small misspellings.

Rules of haotian-liu/LLaVA@c121f043 `m4c_evaluator.py`. ANLS is 1 - edit distance / longer length, 0 below one half,
against the nearest reference.
"""

from __future__ import annotations

from itertools import repeat

from coinkit.metrics.base import RIGHT, ItemMetric, Verdict, verdict
from coinkit.metrics.m4c import normalise
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

ANLS_THRESHOLD = 0.5


class STVQAAccuracy(ItemMetric):
    """`stvqa_accuracy`: equal to any reference, both sides normalised as m4c does."""

    name = 'stvqa_accuracy'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        self.one_reference(item)
        answer = normalise(item.prediction)
        return verdict(any(normalise(reference) == answer for reference in item.references))


class STVQAANLS(ItemMetric):
    """`stvqa_anls`: similarity to the nearest reference, in lower case and without outer white space."""

    name = 'stvqa_anls'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        self.one_reference(item)
        answer = item.prediction.lower().strip()
        golds = {reference.lower().strip() for reference in item.references}
        return RIGHT if answer in golds else Verdict(max(anls(answer, gold) for gold in golds))


def anls(a: str, b: str) -> float:
    """1 - edit distance / longer length, and 0 where that is below one half."""
    longer = max(len(a), len(b))
    if abs(len(a) - len(b)) * 2 > longer:  # the distance is at least the difference in length
        return 0.0
    similarity = 1 - edit_distance(a, b) / longer if longer else 1.0
    return similarity if similarity >= ANLS_THRESHOLD else 0.0


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance; a column of the table per step, as the bits of two integers (Myers 1999, Hyyrö 2003)."""
    places: dict[str, int] = {}
    for place, letter in enumerate(a):
        places[letter] = places.get(letter, 0) | 1 << place
    up, down = -1, 0  # where the column rises and falls from one row to the next; bits beyond the text do not matter
    for same in map(places.get, b, repeat(0)):
        same |= down
        diagonal = ((same & up) + up ^ up) | same
        right = (down | ~(diagonal | up)) << 1 | 1
        up, down = (up & diagonal) << 1 | ~(diagonal | right), right & diagonal
    rows = (1 << len(a)) - 1
    return len(b) + (up & rows).bit_count() - (down & rows).bit_count()
