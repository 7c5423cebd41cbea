"""ST-VQA: accuracy against any reference, and ANLS, which forgives small misspellings.

Rules of haotian-liu/LLaVA@c121f043 `m4c_evaluator.py`. ANLS is 1 - edit distance / longer length, 0 below one half,
against the nearest reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from coinkit.metrics.base import RIGHT, ItemMetric, Verdict, verdict
from coinkit.metrics.edit_distance import edit_distances, lengths
from coinkit.metrics.m4c import normalise
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

ANLS_THRESHOLD = 0.5
_BLOCK = 10_000  # items whose pairs are held at a time


class STVQAAccuracy(ItemMetric):
    """`stvqa_accuracy`: equal to any reference, both sides normalised as m4c does."""

    name = 'stvqa_accuracy'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        self.references(item)
        answer = normalise(item.prediction)
        return verdict(any(normalise(reference) == answer for reference in item.references))


class STVQAANLS(ItemMetric):
    """`stvqa_anls`: similarity to the nearest reference, in lower case and without outer white space."""

    name = 'stvqa_anls'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        return self.judge_all([item])[0]

    def judge_all(self, items: Sequence[Prediction]) -> list[Verdict]:
        return [found for start in range(0, len(items), _BLOCK) for found in self._judge_block(items[start:start + _BLOCK])]

    def _judge_block(self, items: Sequence[Prediction]) -> Iterator[Verdict]:
        """The pairs of all items together; an answer that is a gold answer needs no distance."""
        answers = [item.prediction.lower().strip() for item in items]
        golds = [self._golds(item) for item in items]
        pairs = [(answer, gold) for answer, each in zip(answers, golds, strict=True) if answer not in each for gold in each]
        found = iter(similarities([a for a, _ in pairs], [b for _, b in pairs]).tolist())
        for answer, each in zip(answers, golds, strict=True):
            yield RIGHT if answer in each else Verdict(max(islice(found, len(each))))

    def _golds(self, item: Prediction) -> set[str]:
        self.references(item)
        return {reference.lower().strip() for reference in item.references}


def anls(a: str, b: str) -> float:
    """1 - edit distance / longer length, and 0 where that is below one half."""
    return float(similarities([a], [b])[0])


def similarities(firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
    """`anls` of each pair. The distance is at least the difference in length, so most unlike pairs need none."""
    a, b = lengths(firsts), lengths(seconds)
    longer, values = np.maximum(a, b), np.zeros(len(a))
    values[longer == 0] = 1.0
    near = np.flatnonzero((longer > 0) & (abs(a - b) * 2 <= longer))
    distances = edit_distances([firsts[i] for i in near.tolist()], [seconds[i] for i in near.tolist()])
    values[near] = 1 - distances / longer[near]
    return np.where(values < ANLS_THRESHOLD, 0.0, values)
