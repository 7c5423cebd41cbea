"""What all per-item scorers share: one value in 0..1 per prediction, percent of the mean, and honest counts.

A scorer subclass judges one answered prediction (`judge`); this class decides which predictions count, treats a missing
answer (text None, see `coinkit.metrics.run`) as wrong, and records scorer id, switches and counts with the score.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from coinkit.errors import DataError
from coinkit.metrics.switches import Mode, resolve
from coinkit.types import Prediction, Score


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scorer says of one answer: its value in 0..1, and whether the answer could be read at all."""

    value: float
    parsed: bool = True


WRONG = Verdict(0.0)
RIGHT = Verdict(1.0)
UNPARSED = Verdict(0.0, parsed=False)
MISSING = Verdict(0.0, parsed=False)  # told from UNPARSED by identity


def verdict(right: bool) -> Verdict:
    return RIGHT if right else WRONG


class ItemMetric(ABC):
    """A metric that is the mean over items; subclasses set `name` and write `judge`."""

    name = ''
    counts_missing_upstream = False  # ScienceQA alone divides by all ids of the split in the published code too

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None, **switches: str | None):
        self.switches = resolve(self.name, mode, denominator=denominator, **switches)

    @property
    def by_rows(self) -> bool:
        """True when only the rows that are there are divided by, as the published evaluators do."""
        return self.switches['denominator'] == 'upstream' and not self.counts_missing_upstream

    def counted(self, item: Prediction) -> bool:
        """Does the item belong to the scored set at all?"""
        return True

    @abstractmethod
    def judge(self, item: Prediction) -> Verdict:
        """Value in 0..1 of one answered prediction."""

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """Percent over the counted items; `per_sample` follows `predictions`, None where an item is not counted."""
        if not self.by_rows:
            refuse_duplicates(predictions)
        verdicts = [self.judge_or_miss(item) if self.counted(item) else None for item in predictions]
        kept = [verdict for verdict in verdicts if verdict is not None]
        missing = sum(verdict is MISSING for verdict in kept)
        items = len(kept) - missing if self.by_rows else len(kept)
        total = math.fsum(verdict.value for verdict in kept)
        unparsed = sum(not verdict.parsed and verdict is not MISSING for verdict in kept)
        counts = {'items': items, 'missing': missing, 'unparsed': unparsed, 'excluded': len(predictions) - len(kept)}
        per_sample = tuple(None if verdict is None else verdict.value for verdict in verdicts)
        value = 100 * total / items if items else None
        return Score(value, per_sample, counts, {'scorer': self.name, 'switches': dict(self.switches)})

    def judge_or_miss(self, item: Prediction) -> Verdict:
        return MISSING if item.prediction is None else self.judge(item)

    def one_reference(self, item: Prediction) -> str:
        """The gold answer of a single-answer task."""
        if not item.references:
            raise DataError(f"prediction '{item.id}': no reference answer; {self.name} needs one. "
                            'Give `references` in the line or --annotations.')
        return item.references[0]


def refuse_duplicates(predictions: Sequence[Prediction]) -> None:
    """One answer per id: a second one would count an item twice."""
    repeated = [key for key, times in Counter(item.id for item in predictions).items() if times > 1]
    if repeated:
        named = ', '.join(repr(key) for key in repeated[:5])
        more = f' and {len(repeated) - 5} more' if len(repeated) > 5 else ''
        raise DataError(f'duplicate prediction ids: {named}{more}. Each id may be answered once.')
