"""Where a routing method sent the test samples: counts, accuracy and confusion per stage, from the predictions' `route`.

Right is the stage of the sample's own task. Tasks that were not trained yet have no right stage: they are counted and
left out of the accuracy. What a method noted about its routes (answers that named no expert...) comes from the ledger.
Kept as routing.json (schema coinkit.routing/1), from which a report can be made when the predictions are gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinkit.errors import DataError
from coinkit.report.events import read_events
from coinkit.types import Task

FILE, SCHEMA = 'routing.json', 'coinkit.routing/1'
UNPARSED = '.unparsed'  # how a method's note ends that counts answers naming no expert


@dataclass(frozen=True, slots=True)
class StageRoutes:
    """One stage: for each task tested there, how many samples went to which stage."""

    stage: int
    name: str
    counts: Mapping[str, Mapping[str, int]]  # task -> stage that answered -> samples
    notes: Mapping[str, Mapping[str, float]]  # task -> what the method noted


@dataclass(frozen=True, slots=True)
class Routing:
    """All stages in which a method routed."""

    tasks: tuple[str, ...]
    stages: tuple[StageRoutes, ...]

    def stage_names(self) -> list[str]:
        """Of the stage after each task, and before them all."""
        return ['00-zero-shot', *(f'{number:02d}-{_slug(task)}' for number, task in enumerate(self.tasks, 1))]

    def right(self, stage: StageRoutes, task: str) -> float | None:
        """Percent of the task's samples that its own stage answered; None before the task is trained."""
        position = self.tasks.index(task) + 1
        found = stage.counts.get(task)
        if position > stage.stage or not found:
            return None
        return 100.0 * found.get(self.stage_names()[position], 0) / sum(found.values())

    def accuracy(self, stage: StageRoutes) -> float | None:
        """Percent over the samples of all trained tasks."""
        seen = {task: self.right(stage, task) for task in stage.counts}
        sizes = {task: sum(stage.counts[task].values()) for task, share in seen.items() if share is not None}
        return sum(seen[task] * size for task, size in sizes.items()) / sum(sizes.values()) if sizes else None

    def unparsed(self, stage: StageRoutes) -> int | None:
        """Answers that named no expert; None when the method does not count them."""
        found = [value for notes in stage.notes.values() for key, value in notes.items() if key.endswith(UNPARSED)]
        return round(sum(found)) if found else None

    def to_json(self) -> dict[str, Any]:
        return {'schema': SCHEMA, 'tasks': list(self.tasks), 'stages': [self._stage_json(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, blob: Mapping[str, Any]) -> Routing:
        return cls(tuple(blob['tasks']), tuple(StageRoutes(one['stage'], one['name'], one['confusion'], one['notes'])
                                               for one in blob['stages']))

    def _stage_json(self, stage: StageRoutes) -> dict[str, Any]:
        return {'stage': stage.stage, 'name': stage.name, 'accuracy': self.accuracy(stage), 'unparsed': self.unparsed(stage),
                'per_task': {task: self.right(stage, task) for task in stage.counts},
                'confusion': {task: dict(found) for task, found in stage.counts.items()},
                'notes': {task: dict(notes) for task, notes in stage.notes.items()}}


def read_routing(folder: Path, tasks: Sequence[str]) -> Routing | None:
    """The routes of a run directory; None when nothing was routed."""
    empty, noted = Routing(tuple(tasks), ()), _notes(folder)
    stages = []
    for number, name in enumerate(empty.stage_names()):
        counts = {task: found for task in tasks
                  if (found := _count(folder / 'predictions' / name / f'{_slug(task)}.jsonl'))}
        if counts:
            stages.append(StageRoutes(number, name, counts, {task: noted[name, task] for task in counts
                                                             if (name, task) in noted}))
    if stages:
        return Routing(empty.tasks, tuple(stages))
    return _kept(folder / FILE, empty.tasks)


def summed(routings: Sequence[Routing | None]) -> Routing | None:
    """Counts and notes over several runs of the same stream, for the stages that all have."""
    if not routings or None in routings:
        return None
    shared = set.intersection(*({stage.name for stage in one.stages} for one in routings))
    rows = zip(*([stage for stage in one.stages if stage.name in shared] for one in routings), strict=True)
    return Routing(routings[0].tasks, tuple(
        StageRoutes(same[0].stage, same[0].name, _added([stage.counts for stage in same]),
                    _added([stage.notes for stage in same])) for same in rows))


def _added(parts: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    total: dict[str, dict[str, Any]] = {}
    for part in parts:
        for task, found in part.items():
            for key, value in found.items():
                own = total.setdefault(task, {})
                own[key] = own.get(key, 0) + value
    return {task: dict(sorted(found.items())) for task, found in total.items()}


def _count(path: Path) -> dict[str, int]:
    """Samples by the stage that answered, in the order of stages; empty when the file is not there or nothing routed."""
    return dict(sorted(Counter(_routes(path)).items())) if path.exists() else {}


def _routes(path: Path) -> Iterator[str]:
    # as bytes: text also splits at U+0085 and U+2028, which answers may hold
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            route = json.loads(line).get('route')
        except (ValueError, AttributeError):
            raise DataError(f'{path}: line {number} is not a prediction.') from None
        if route is None:
            return
        yield route


def _notes(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """What methods noted while they routed, by stage and task; the newest line of a cell counts."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for record in read_events(folder / 'ledger.jsonl'):
        if record.get('event') == 'cell_scored' and record.get('notes'):
            found[record['stage'], record['task']] = dict(record['notes'])
    return found


def _kept(path: Path, tasks: tuple[str, ...]) -> Routing | None:
    """routing.json of an earlier report."""
    if not path.exists():
        return None
    try:
        blob = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        return None  # made anew from the predictions when they are there
    return Routing.from_json(blob) if blob.get('schema') == SCHEMA and tuple(blob['tasks']) == tasks else None


def _slug(task: str) -> str:
    return Task(task, {}, {}, {}).slug
