"""What all per-item scorers share: one value in 0..1 per prediction, percent of the mean, and honest counts.

A scorer subclass judges one answered prediction (`judge`); this class decides which predictions count, treats a missing
answer (text None, see `coinkit.metrics.run`) as wrong, and records scorer id, switches and counts with the score.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.errors import ConfigError, DataError, Problem
from coinkit.metrics.switches import Mode, resolve
from coinkit.types import BAD_IMAGE, Prediction, Score


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scorer says of one answer: its value in 0..1, and whether the answer could be read at all."""

    value: float
    parsed: bool = True


WRONG = Verdict(0.0)
RIGHT = Verdict(1.0)
UNPARSED = Verdict(0.0, parsed=False)
MISSING = Verdict(0.0, parsed=False)  # told from UNPARSED by identity
AGREED = 'multiple_choice_answer'  # VQA's one answer of several annotators, in the context
GOLD_KEYS = (AGREED, 'gold_index', 'answer_option', 'answer_bbox', 'origin_answer_bbox')  # gold of any scorer in a context
SKIPPED = Verdict(0.0)  # no answer, because its picture could not be used: wrong in every mode


def short(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def verdict(right: bool) -> Verdict:
    return RIGHT if right else WRONG


class ItemMetric(ABC):
    """A metric that is the mean over items; subclasses set `name` and write `judge`."""

    name = ''
    counts_missing_upstream = False  # ScienceQA alone divides by all ids of the split in the published code too
    more_values: Mapping[str, tuple[str, ...]] = {}  # what a switch may be besides 'default' and 'upstream'
    needs_gold = True  # an annotation without a gold answer is an error
    gold_keys: tuple[str, ...] = (AGREED,)  # where in the context gold may be, besides the references

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None, **switches: str | None):
        self.switches: Mapping[str, Any] = resolve(self.name, mode, self.more_values, denominator=denominator,
                                                   **switches)
        self.mode = mode

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        """Wrong switch values, found before a run starts and not at its first score."""
        try:
            cls(**config)
        except ConfigError as error:
            return list(error.problems)
        return []

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
        verdicts = self.verdicts(predictions)
        kept = [verdict for verdict in verdicts if verdict is not None]
        missing = sum(verdict is MISSING for verdict in kept)
        unparsed = sum(not verdict.parsed and verdict is not MISSING for verdict in kept)
        per_sample = tuple(None if verdict is None or verdict is MISSING and self.by_rows else verdict.value
                           for verdict in verdicts)
        values = [value for value in per_sample if value is not None]
        counts = {'items': len(values), 'missing': missing, 'unparsed': unparsed,
                  'excluded': len(predictions) - len(kept), **bad_image_counts(predictions)}
        value = self.total(values) if values else None
        details = {'scorer': self.name, 'switches': dict(self.switches), **self.details(predictions, per_sample)}
        return Score(value, per_sample, counts, details)

    def verdicts(self, predictions: Sequence[Prediction]) -> list[Verdict | None]:
        """One per prediction; None for what does not belong to the scored set."""
        counted = [self.counted(item) for item in predictions]
        asked = [item for item, counts in zip(predictions, counted, strict=True)
                 if counts and item.prediction is not None and not item.skipped]
        judged = iter(self.judge_all(asked))
        return [None if not counts else MISSING if item.prediction is None else SKIPPED if item.skipped else next(judged)
                for item, counts in zip(predictions, counted, strict=True)]

    def judge_all(self, items: Sequence[Prediction]) -> Sequence[Verdict]:
        """`judge` of each; a scorer that is faster for many at a time does it here."""
        return [self.judge(item) for item in items]

    def total(self, values: Sequence[float]) -> float:
        """The score of the task from the values of its items (one at least): percent of their mean."""
        return 100 * math.fsum(values) / len(values)

    def details(self, predictions: Sequence[Prediction], per_sample: Sequence[float | None]) -> dict[str, Any]:
        """What a scorer reports besides its score."""
        return {}

    def references(self, item: Prediction) -> tuple[str, ...]:
        """All gold answers, one at least."""
        if not item.references:
            raise DataError(f"prediction '{item.id}': no reference answer; {self.name} needs one. "
                            'Give `references` in the line or --annotations.')
        return item.references

    def one_reference(self, item: Prediction) -> str:
        """The gold answer of a single-answer task: what several annotators were brought down to, where they differ."""
        agreed = item.context.get(AGREED)
        golds = (agreed,) if isinstance(agreed, str) and self.mode == 'default' else self.references(item)
        if self.mode == 'default' and len(set(golds)) > 1:
            named = ', '.join(map(repr, golds[:3])) + (', ...' if len(golds) > 3 else '')
            raise DataError(f"prediction '{item.id}': {len(golds)} reference answers that differ ({named}); {self.name} "
                            f'compares with one. Give one reference or {AGREED}, or take a metric for several '
                            "(vqa_v2_official, stvqa_anls); mode='upstream' takes the first.")
        return golds[0]


def bad_image_counts(predictions: Sequence[Prediction]) -> dict[str, int]:
    """What `on_bad_image` did to a test set, where it did anything: `skipped` count as wrong, and those that were asked
    `without_picture` as they were answered."""
    done = [item.context.get(BAD_IMAGE) for item in predictions]
    return {name: done.count(key) for name, key in (('skipped', 'skip'), ('without_picture', 'text_only')) if key in done}


def refuse_duplicates(predictions: Sequence[Prediction]) -> None:
    """One answer per id: a second one would count an item twice."""
    repeated = [key for key, times in Counter(item.id for item in predictions).items() if times > 1]
    if repeated:
        named = ', '.join(repr(key) for key in repeated[:5])
        more = f' and {len(repeated) - 5} more' if len(repeated) > 5 else ''
        raise DataError(f'duplicate prediction ids: {named}{more}. Each id may be answered once.')
