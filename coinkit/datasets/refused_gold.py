"""Gold that a task's scorer refuses: every test row is shown to it with a made-up answer before the run.

The answer is an option's letter, since a scorer looks for gold only when it could read the answer; of rows with boxes a
box as well. A scorer that works on the whole set at once, as captions do, is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coinkit.errors import ConfigError, DataError, Problem
from coinkit.registry import METRICS
from coinkit.types import Metric, Prediction

LETTER, BOX = 'A', '[0.10,0.20,0.50,0.90]'  # every published parser reads the box
BOX_KEYS = frozenset({'answer_bbox', 'origin_answer_bbox', 'size'})
SHOWN = 3  # rows told; the others are counted
_AT_ONCE = 1_000


def metric_of(scored_by: Mapping[str, Any] | None) -> Any:
    """The metric of the task, if it judges items one by one; wrong options are told by its own preflight."""
    try:
        found: Metric | None = None if scored_by is None else METRICS.build(scored_by)
    except ConfigError:
        return None
    return found if hasattr(found, 'verdicts') else None


class Refused:
    """The rows that a metric will not score, and why; `show` it all of them."""

    def __init__(self, metric: Any):
        self._metric = metric
        self._waiting: list[tuple[int, Prediction]] = []
        self._count = 0
        self._first: list[tuple[int, str, str]] = []  # record, id, why

    def show(self, number: int, name: str, references: Sequence[str], context: Mapping[str, Any]) -> None:
        if self._metric is None:
            return
        answers = (LETTER, BOX) if BOX_KEYS & context.keys() else (LETTER,)
        self._waiting += [(number, Prediction(name, answer, tuple(references), context)) for answer in answers]
        if len(self._waiting) >= _AT_ONCE:
            self._judge()

    def problems(self, file: Path, total: int) -> list[Problem]:
        """The first of them, each with the scorer's words."""
        self._judge()
        told = [Problem(f"{file}: record {number}" + (f" (id '{name}')" if name else ''), why)
                for number, name, why in self._first]
        if self._count > len(told):
            told.append(Problem(str(file), f"{self._count:,} of {total:,} rows have gold that {self._metric.name} refuses.",
                                'Mend the rows, or take another metric.'))
        return told

    def _judge(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting or self._refusal([item for _, item in waiting]) is None:
            return
        told = -1
        for number, item in waiting:
            if number == told or (why := self._refusal([item])) is None:
                continue
            told, self._count = number, self._count + 1
            if len(self._first) < SHOWN:
                self._first.append((number, item.id, why))

    def _refusal(self, items: Sequence[Prediction]) -> str | None:
        try:
            self._metric.verdicts(items)
        except DataError as error:
            return str(error)
        return None
