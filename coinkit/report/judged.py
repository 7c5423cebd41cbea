"""What `coinkit judge` left in a run directory: the second matrix, and why answers were wrong.

Read from matrix.judge.json and failures.json where they are; over seeds and orders the means of those of the members.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinkit.errors import DataError
from coinkit.report.aggregate import Run, aggregate, find_run

MATRIX, JUDGE, FAILURES = 'matrix.judge.json', 'judge.json', 'failures.json'
FAILURES_SCHEMA = 'coinkit.failures/1'
KINDS = ('format', 'knowledge', 'unjudged')


@dataclass(frozen=True, slots=True)
class Loss:
    """One task at one stage, in percent points: right, and what each kind of failure costs. They add up to 100."""

    right: float
    points: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskFailures:
    """A task right after it was learnt and at the last stage that was measured; `drop` is the split of what was lost."""

    learned: Loss | None
    final: Loss

    @property
    def drop(self) -> Mapping[str, float] | None:
        if self.learned is None:
            return None
        return {kind: self.final.points[kind] - self.learned.points[kind] for kind in KINDS}


def judged_run(run: Run) -> Run | None:
    """The run with the judge's matrix in place of truth alignment; None when it was not judged."""
    if run.members:
        members = [judged_run(member) for member in run.members]
        return aggregate(run.name, members, path=run.path) if all(members) else None
    path = None if run.directory is None else run.directory / MATRIX
    return find_run(path, name=run.name) if path is not None and path.exists() else None


def judge_name(run: Run) -> str:
    """Which model judged, as the files say; '' when they do not."""
    for each in run.members or (run,):
        blob = {} if each.directory is None else _read(each.directory / JUDGE)
        judge = blob.get('judge')
        if isinstance(judge, dict):
            return ' '.join(str(judge[key]) for key in ('model', 'revision') if judge.get(key))
    return ''


def split_by(run: Run) -> str:
    """'judge' or 'lenient': what told format from knowledge."""
    folders = [each.directory for each in run.members or (run,) if each.directory is not None]
    return str(next((blob['by'] for blob in map(_failures, folders) if blob), ''))


def task_failures(run: Run) -> dict[str, TaskFailures]:
    """By task; empty when failures were not split, for every member in the case of several."""
    if run.members:
        found = [task_failures(member) for member in run.members]
        shared = [task for task in run.tasks if all(task in each for each in found)]
        return {task: _mean([each[task] for each in found]) for task in shared}
    blob = {} if run.directory is None else _failures(run.directory)
    tasks = {}
    for column, task in enumerate(run.tasks):
        cells = {cell['row']: _loss(cell) for cell in blob.get('cells', ()) if cell['task'] == task and 'points' in cell}
        after = {row: loss for row, loss in cells.items() if row > column}
        if after:
            tasks[task] = TaskFailures(after.get(column + 1), after[max(after)])
    return tasks


def _loss(cell: Mapping[str, Any]) -> Loss:
    points = {kind: float(cell['points'][kind]) for kind in KINDS}
    return Loss(100.0 - sum(points.values()), points)


def _mean(found: Sequence[TaskFailures]) -> TaskFailures:
    def over(losses: Sequence[Loss | None]) -> Loss | None:
        if None in losses:
            return None
        return Loss(statistics.fmean(loss.right for loss in losses),
                    {kind: statistics.fmean(loss.points[kind] for loss in losses) for kind in KINDS})

    return TaskFailures(over([each.learned for each in found]), over([each.final for each in found]))


def _failures(folder: Path) -> dict[str, Any]:
    blob = _read(folder / FAILURES)
    if blob and blob.get('schema') != FAILURES_SCHEMA:
        raise DataError(f'{folder / FAILURES}: not a split of failures (schema {blob.get("schema")!r}); needed: '
                        f'{FAILURES_SCHEMA!r}. `coinkit judge` writes it anew.')
    return blob


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        blob = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}). `coinkit judge` writes it anew.') from None
    return blob if isinstance(blob, dict) else {}
