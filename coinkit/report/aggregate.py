"""From run directories to runs that can be compared: one matrix, or mean ± std over seeds and over task orders.

`RUN/seed-N/` and `RUN/order-NAME/` are found under RUN. Over seeds every cell and every metric is aggregated; over
orders only what does not depend on the order of stages (metrics, and each task by its name). The standard deviation is
the sample one (n - 1). Where one member lacks a value, the mean is None and the lack is listed: nothing is skipped.
Rows of stages in which a method trains nothing (Joint before the last task, ZeroShot) are not owed: `only` says so, once.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coinkit.errors import DataError
from coinkit.report.continual import measure
from coinkit.report.cost import read_cost
from coinkit.report.events import read_events
from coinkit.report.matrix_io import FILE, read_matrix
from coinkit.report.routing import Routing, read_routing, summed
from coinkit.types import ScoreMatrix


@dataclass(frozen=True, slots=True)
class Stat:
    """A value, or a mean over `n` members with their sample standard deviation."""

    mean: float | None
    std: float | None = None
    n: int = 1


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of one run, or of several aggregated ones (`members`)."""

    name: str
    tasks: tuple[str, ...]
    matrix: ScoreMatrix | None  # None over several task orders
    metrics: Mapping[str, Stat]
    per_task: Mapping[str, Mapping[str, Stat]]  # task -> column -> value
    curve: tuple[Stat, ...]  # average over the tasks seen so far, per stage
    missing: tuple[str, ...] = ()
    std: tuple[tuple[float | None, ...], ...] | None = None  # of the matrix' cells, over seeds
    members: tuple[Run, ...] = ()
    path: Path | None = None
    routing: Routing | None = None  # where a routing method sent the test samples; summed over seeds
    cost: Mapping[str, Stat] | None = None  # see cost.py
    only: str = ''  # which rows there are, where the run owes no others: its `missing` does not list those

    @property
    def directory(self) -> Path | None:
        """The run directory, when the run came from one."""
        return self.path if self.path is not None and self.path.is_dir() else None


def run_of_matrix(name: str, matrix: ScoreMatrix, *, path: Path | None = None) -> Run:
    """A single run; its values are `Stat`s of one."""
    matrix = _padded(matrix)
    found = measure(matrix.scores, matrix.zero_shot)
    per_task = {task: {column: Stat(values[j]) for column, values in found.per_task.items()}
                for j, task in enumerate(matrix.tasks)}
    folder = path if path is not None and path.is_dir() else None
    unowed, only = _unowed(matrix, folder)
    missing = tuple(f'after stage {i} ({matrix.tasks[i - 1]}): {matrix.tasks[j - 1]}' for i, j in found.missing
                    if i not in unowed)
    routing = read_routing(folder, matrix.tasks) if folder else None
    cost = read_cost(folder, routing) if folder else None
    return Run(name, matrix.tasks, matrix, {key: Stat(value) for key, value in found.values.items()}, per_task,
               tuple(map(Stat, found.curve)), missing, path=path, routing=routing,
               cost=cost and {key: Stat(value) for key, value in cost.items()}, only=only)


def find_run(path: Path, *, name: str | None = None) -> Run:
    """The run of a directory (its matrix, else its seeds, else its orders) or of a matrix file."""
    name = name or path.resolve().name
    if path.is_file() or (path / FILE).exists():
        return run_of_matrix(name, read_matrix(path), path=path)
    if not path.is_dir():
        raise DataError(f'{path}: there is no such run directory or matrix file.')
    for prefix in ('order-', 'seed-'):
        folders = [folder for folder in path.glob(f'{prefix}*') if folder.is_dir()]
        if folders:
            return _aggregate_folders(name, path, sorted(folders, key=_natural), prefix)
    raise DataError(f'{path}: not a run directory: it has no {FILE} and no seed-N or order-NAME folders. '
                    'A run writes it after its first evaluation.')


def aggregate(name: str, members: Sequence[Run], *, path: Path | None = None) -> Run:
    """Mean ± std over runs of the same tasks; cells too when the tasks come in the same order."""
    first = members[0]
    for other in members[1:]:
        if set(other.tasks) != set(first.tasks):
            raise DataError(f'{name}: {first.name} and {other.name} have different tasks and cannot be averaged.')
    same_order = all(member.tasks == first.tasks and member.matrix for member in members)
    shared = [key for key in first.metrics if all(key in member.metrics for member in members)]
    columns = [key for key in next(iter(first.per_task.values()))
               if all(key in next(iter(member.per_task.values())) for member in members)]
    costs = [member.cost for member in members]
    mean, std = _mean_matrix([member.matrix for member in members]) if same_order else (None, None)
    return Run(
        name, first.tasks, mean, {key: _stat(member.metrics[key] for member in members) for key in shared},
        {task: {key: _stat(member.per_task[task][key] for member in members) for key in columns}
         for task in first.tasks},
        tuple(_stat(stats) for stats in zip(*(member.curve for member in members), strict=True)),
        tuple(f'{member.name}: {gap}' for member in members for gap in member.missing), std, tuple(members), path,
        summed([member.routing for member in members]) if same_order else None,
        None if None in costs else {key: _stat(cost[key] for cost in costs) for key in costs[0]},
        first.only if all(member.only == first.only for member in members) else '')


def unique_names(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Runs whose folder names collide are called by their paths."""
    names = [run.name for run in runs]
    return tuple(run if names.count(run.name) == 1 else replace(run, name=str(run.path or f'{run.name} {number}'))
                 for number, run in enumerate(runs, start=1))


def _aggregate_folders(name: str, path: Path, folders: Sequence[Path], prefix: str) -> Run:
    done, waiting = [], []
    for folder in folders:
        has_result = (folder / FILE).exists() or any(folder.glob(f'*/{FILE}'))
        (done if has_result else waiting).append(folder)
    if not done:
        raise DataError(f'{path}: none of its {len(folders)} {prefix}* folders has a {FILE} yet.')
    run = aggregate(name, [find_run(folder) for folder in done], path=path)
    return replace(run, missing=(*(f'{folder.name}: no {FILE} yet' for folder in waiting), *run.missing))


def _unowed(matrix: ScoreMatrix, folder: Path | None) -> tuple[set[int], str]:
    """Rows (from 1) that no stage was trained for, and in words which there are; without a ledger, as the matrix looks."""
    events, every = read_events(folder / 'ledger.jsonl') if folder else [], set(range(1, len(matrix.tasks) + 1))
    empty = {i for i, row in enumerate(matrix.scores, 1) if set(row) == {None}}
    if events:
        kinds = {event['event'] for event in events}
        done = {event['stage'] for event in events if event['event'] == 'stage_done'}
        skipped = {int(event['stage'].partition('-')[0]) for event in events
                   if event['event'] == 'stage_skipped' and event['stage'] not in done}
        unowed = every if 'run_done' in kinds and 'stage_started' not in kinds else skipped & empty
    elif matrix.zero_shot is not None and empty == every:
        unowed = every
    else:
        unowed = empty if empty == every - {len(every)} and None not in matrix.scores[-1] else set()
    rows = [str(i) for i in sorted(every - unowed)]
    kept = 'zero-shot row' if not rows else 'last row' if rows == [str(len(every))] else f'rows {", ".join(rows)}'
    return unowed, f'only the {kept} of the matrix {"are" if len(rows) > 1 else "is"} measured' if unowed else ''


def _natural(path: Path) -> tuple[str, int, str]:
    """seed-2 before seed-10."""
    head, _, tail = path.name.rpartition('-')
    return (head, int(tail), '') if tail.isdigit() else (path.name, 0, '')


def _stat(stats: object) -> Stat:
    """Over the members' means; None where one has none."""
    values = [stat.mean for stat in stats]
    if None in values:
        return Stat(None, None, len(values))
    return Stat(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _mean_matrix(matrices: Sequence[ScoreMatrix]) -> tuple[ScoreMatrix, tuple[tuple[float | None, ...], ...]]:
    def cellwise(rows: Sequence[Sequence[float | None]]) -> list[Stat]:
        return [_stat(map(Stat, values)) for values in zip(*rows, strict=True)]

    stats = [cellwise([matrix.scores[i] for matrix in matrices]) for i in range(len(matrices[0].tasks))]
    zeros = [matrix.zero_shot for matrix in matrices]
    zero = None if None in zeros else tuple(stat.mean for stat in cellwise(zeros))
    mean = replace(matrices[0], scores=tuple(tuple(stat.mean for stat in row) for row in stats), zero_shot=zero)
    return mean, tuple(tuple(stat.std for stat in row) for row in stats)


def _padded(matrix: ScoreMatrix) -> ScoreMatrix:
    """A matrix made in memory may stop at the stages that are done; the file readers always give a square."""
    size = len(matrix.tasks)
    rows = [*matrix.scores, *[(None,) * size] * (size - len(matrix.scores))]
    return replace(matrix, scores=tuple(tuple(row) for row in rows))
