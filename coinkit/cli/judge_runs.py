"""The runs that `coinkit judge` looks at, and the cells it asks about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from coinkit.errors import ConfigError, RunError, unknown
from coinkit.judges.cells import CellPlace, RunCells
from coinkit.plugins import PluginManager


def open_runs(folder: Path, *, plugins: PluginManager, data_root: str | None = None) -> list[RunCells]:
    """The run in a directory, or those of its seeds and orders; nothing is measured, so no model is built."""
    found = sorted({path.parent for depth in ('', '*/', '*/*/') for path in folder.glob(f'{depth}predictions')
                    if (path.parent / 'config.py').is_file()})
    if not found:
        raise RunError(f'{folder}: not a run directory with predictions (config.py and predictions/ are looked for, also in '
                       'seed-N and order-NAME). A run writes them with its first evaluation.')
    return [_open_run(path, plugins, data_root) for path in found]


def _open_run(folder: Path, plugins: PluginManager, data_root: str | None) -> RunCells:
    from coinkit.config import load_config, resolve_stream
    from coinkit.engine.datasets import StreamDatasets
    from coinkit.engine.run_dir import RunDir

    config = load_config(folder / 'config.py', plugins=plugins)
    data = config.data if data_root is None else replace(config.data, root=data_root)
    stream = resolve_stream(config)
    datasets = StreamDatasets(stream, data, limit=config.evaluation.limit)
    run = RunDir(folder)
    records = run.open_ledger(writable=False).all('cell_scored') if run.ledger.exists() else []
    hashes = {(record['stage'], record['task']): record['predictions_sha256'] for record in records}
    stages = [run.stage_name(stage, stream) for stage in range(len(stream) + 1)]
    return RunCells(folder, stream, stages, datasets.test, hashes)


def choose_cells(runs: Sequence[RunCells], *, tasks: str | None, stage: str | None) -> list[tuple[RunCells, CellPlace]]:
    """The cells that have predictions, of the tasks and stages asked for."""
    chosen: list[tuple[RunCells, CellPlace]] = []
    for run in runs:
        columns = _columns(run, tasks)
        rows = _rows(run, stage)
        chosen += [(run, place) for place in run.places() if place.column in columns and place.row in rows]
    if not chosen:
        raise RunError(f'{runs[0].folder}: there are no predictions of the tasks and stages asked for yet. '
                       '`coinkit test` makes those that are missing.')
    return chosen


def _columns(run: RunCells, tasks: str | None) -> set[int]:
    names = {name: column for column, task in enumerate(run.stream) for name in (task.name, task.slug)}
    given = _listed(tasks) or list(names)
    wrong = [unknown('--tasks', 'task', name, [task.name for task in run.stream]) for name in given if name not in names]
    if wrong:
        raise ConfigError(wrong)
    return {names[name] for name in given}


def _rows(run: RunCells, stage: str | None) -> set[int]:
    names = {**{name: row for row, name in enumerate(run.stages)}, 'zero': 0}
    given = _listed(stage) or list(names)
    rows = {text: names.get(text, int(text) if text.isascii() and text.isdigit() else -1) for text in given}
    wrong = [unknown('--stage', 'stage', text, run.stages) for text, row in rows.items() if not 0 <= row < len(run.stages)]
    if wrong:
        raise ConfigError(wrong)
    return set(rows.values())


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(',') if part.strip()] if text else []
