"""Where a routing method sent the test samples: counts, accuracy and confusion per stage, from the predictions' `route`.

Which stages are right for a task the method said when the cell was measured (tasks that share an adapter: the newest stage
of their group); where the ledger does not tell, it is the stage of the task itself. Tasks that were not trained yet have no
right stage: they are counted and left out of the accuracy. What a method noted about its routes (answers that named no
expert...) comes from the ledger, too.
Kept as routing.json (schema coinkit.routing/1), from which a report can be made when the predictions are gone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    right: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # trained task -> right stages, where it was said


@dataclass(frozen=True, slots=True)
class Routing:
    """All stages in which a method routed."""

    tasks: tuple[str, ...]
    stages: tuple[StageRoutes, ...]

    def stage_names(self) -> list[str]:
        """Of the stage after each task, and before them all."""
        return ['00-zero-shot', *(f'{number:02d}-{_slug(task)}' for number, task in enumerate(self.tasks, 1))]

    def right_stages(self, stage: StageRoutes, task: str) -> tuple[str, ...]:
        """Stages that are right for a task after a stage; none before the task is trained."""
        position = self.tasks.index(task) + 1
        return () if position > stage.stage else stage.right.get(task, (self.stage_names()[position],))

    def all_right(self, stage: StageRoutes) -> dict[str, tuple[str, ...]]:
        """The right stages of every trained task."""
        return {task: right for task in self.tasks if (right := self.right_stages(stage, task))}

    def shares(self, stage: StageRoutes) -> bool:
        """Whether a task's right stage is another one's: the method's tasks share adapters."""
        names = dict(zip(self.tasks, self.stage_names()[1:], strict=True))
        return any(right != (names[task],) for task, right in self.all_right(stage).items())

    def right(self, stage: StageRoutes, task: str) -> float | None:
        """Percent of the task's samples that a right stage answered; None before the task is trained."""
        right, found = self.right_stages(stage, task), stage.counts.get(task)
        if not right or not found:
            return None
        return 100.0 * sum(found.get(name, 0) for name in right) / sum(found.values())

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
        def stage(one: Mapping[str, Any]) -> StageRoutes:
            said = {task: tuple(names) for task, names in one.get('right', {}).items()}
            return StageRoutes(one['stage'], one['name'], one['confusion'], one['notes'], said)

        return cls(tuple(blob['tasks']), tuple(map(stage, blob['stages'])))

    def _stage_json(self, stage: StageRoutes) -> dict[str, Any]:
        return {'stage': stage.stage, 'name': stage.name, 'accuracy': self.accuracy(stage), 'unparsed': self.unparsed(stage),
                'per_task': {task: self.right(stage, task) for task in stage.counts},
                'right': {task: list(names) for task, names in stage.right.items()},
                'confusion': {task: dict(found) for task, found in stage.counts.items()},
                'notes': {task: dict(notes) for task, notes in stage.notes.items()}}


def read_routing(folder: Path, tasks: Sequence[str]) -> Routing | None:
    """The routes of a run directory; None when nothing was routed."""
    empty, said = Routing(tuple(tasks), ()), _said(folder)
    stages = []
    for number, name in enumerate(empty.stage_names()):
        counts = {task: found for task in tasks
                  if (found := _count(folder / 'predictions' / name / f'{_slug(task)}.jsonl'))}
        cells = {task: said[name, task] for task in counts if (name, task) in said}
        if counts:
            stages.append(StageRoutes(
                number, name, counts, {task: dict(cell['notes']) for task, cell in cells.items() if cell.get('notes')},
                {task: tuple(cell['right']) for task, cell in cells.items() if cell.get('right')}))
    if stages:
        return Routing(empty.tasks, tuple(stages))
    return _kept(folder / FILE, empty.tasks)


def summed(routings: Sequence[Routing | None]) -> Routing | None:
    """Counts and notes over several runs of the same stream, for the stages that all have and in which the same is right."""
    if not routings or None in routings:
        return None
    shared = set.intersection(*({stage.name for stage in one.stages} for one in routings))
    rows = zip(*([(stage, one.all_right(stage)) for stage in one.stages if stage.name in shared] for one in routings),
               strict=True)
    stages = tuple(
        StageRoutes(same[0][0].stage, same[0][0].name, _added([stage.counts for stage, _ in same]),
                    _added([stage.notes for stage, _ in same]), same[0][1])
        for same in rows if all(right == same[0][1] for _, right in same))
    return Routing(routings[0].tasks, stages) if stages else None


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


def _said(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What the ledger says of each cell, by stage and task; the newest line of a cell counts."""
    return {(record['stage'], record['task']): record for record in read_events(folder / 'ledger.jsonl')
            if record.get('event') == 'cell_scored'}


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
