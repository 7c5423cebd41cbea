"""The cells of one run as a judge sees them: each answer with its question and its gold answer.

Predictions are read from the run directory; the questions, which are not in them, come from the task's test set. An item of
the test set without a prediction is there with no text: it counts 0 and is not asked about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.errors import DataError, RunError
from coinkit.judges.lenient import is_grounding
from coinkit.judges.prompts import gold_text, judge_prompt, question_text
from coinkit.types import Dataset, Prediction, Sample, Task


@dataclass(frozen=True)
class CellPlace:
    """One predictions file: row 0 is zero-shot, row i after task i; `column` is the task's place in the stream."""

    row: int
    column: int
    stage: str
    task: Task
    path: Path


@dataclass
class RunCells:
    """A run directory with its stream. `stages` are folder names of rows 0..T; `test_set` opens a task's test set."""

    folder: Path
    stream: Sequence[Task]
    stages: Sequence[str]
    test_set: Callable[[int], Dataset]
    hashes: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (stage, task) -> SHA-256, from the ledger
    _samples: dict[int, dict[str, Sample]] = field(default_factory=dict)

    def places(self) -> list[CellPlace]:
        """The cells that have predictions, task by task."""
        found = [CellPlace(row, column, stage, task, self.folder / 'predictions' / stage / f'{task.slug}.jsonl')
                 for column, task in enumerate(self.stream) for row, stage in enumerate(self.stages)]
        return [place for place in found if place.path.is_file()]

    def rows(self, place: CellPlace) -> list[Prediction]:
        """One row per item of the test set, in its order; text None where the file has no line for it."""
        recorded = self.hashes.get((place.stage, place.task.name))
        if recorded is not None and atomic.sha256_file(place.path) != recorded:
            raise RunError(f'{place.path}: not the file that the ledger speaks of; it was changed since it was scored. '
                           'Restore it, or measure the cell again.')
        answered = read_rows(place.path)
        samples = self.samples(place.column)
        strangers = answered.keys() - samples.keys()
        if strangers:
            raise DataError(f'{place.path}: {len(strangers)} ids are not in the test set of {place.task.name}, for example '
                            f'{min(strangers)!r}. The data has changed since the run.')
        for key, row in answered.items():
            if row.references != samples[key].references:
                raise DataError(f'{place.path}: the gold answer of {key!r} is {list(row.references)!r} there and '
                                f'{list(samples[key].references)!r} in the test set. The data has changed since the run.')
        return [answered.get(key) or _missing(sample) for key, sample in samples.items()]

    def samples(self, column: int) -> dict[str, Sample]:
        """The test set by id, read once. Pictures are not opened."""
        if column not in self._samples:
            dataset = self.test_set(column)
            self._samples[column] = {sample.id: sample for sample in (dataset[i] for i in range(len(dataset)))}
        return self._samples[column]

    def prompts(self, place: CellPlace, rows: Sequence[Prediction]) -> Iterator[str | None]:
        """What the judge is asked about each row; None for a row without an answer."""
        grounding = is_grounding(place.task.metric['type'])
        samples = self.samples(place.column)
        for row in rows:
            if row.prediction is None or row.skipped:
                yield None
                continue
            gold = gold_text(row, grounding=grounding)
            yield judge_prompt(question_text(samples[row.id].turns), gold, row.prediction, grounding=grounding)


def read_rows(path: Path) -> dict[str, Prediction]:
    """The predictions of a file by id; the error names file and line."""
    rows: dict[str, Prediction] = {}
    for number, line in enumerate(path.read_bytes().split(b'\n'), start=1):  # as bytes: answers may hold U+2028
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f'{path}: line {number}: not a prediction ({type(error).__name__}: {error}).') from None
        if row.id in rows:
            raise DataError(f'{path}: line {number}: the id {row.id!r} is there twice. Each id may be answered once.')
        rows[row.id] = row
    return rows


def _row(line: Mapping[str, Any]) -> Prediction:
    """A line as the evaluator writes it; TypeError says what is of another kind."""
    kinds = {'prediction': str, 'references': list, 'context': dict}
    wrong = next((key for key, kind in kinds.items() if not isinstance(line.get(key, kind()), kind)), None)
    if wrong is not None:
        raise TypeError(f'{wrong} is a {type(line[wrong]).__name__}')
    return Prediction.from_json(line)


def _missing(sample: Sample) -> Prediction:
    return Prediction(sample.id, None, sample.references, sample.meta)  # type: ignore[arg-type]
