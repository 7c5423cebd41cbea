"""What judging leaves in a run directory: matrix.judge.json, judge.json, failures.json and judgements/.

All of it can be made again from predictions and answers (judgements/answers.jsonl, the cache), which alone is precious.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.judges import failures
from coinkit.judges.base import Judge
from coinkit.judges.cells import RunCells
from coinkit.judges.judging import JudgedCell
from coinkit.judges.parse import SCORER
from coinkit.types import ScoreMatrix

MATRIX, JUDGE, FAILURES = 'matrix.judge.json', 'judge.json', 'failures.json'
FOLDER, ANSWERS = 'judgements', 'answers.jsonl'
JUDGE_SCHEMA, FAILURES_SCHEMA = 'coinkit.judge/1', 'coinkit.failures/1'


def cache_path(folder: Path) -> Path:
    """The answers of a run; the runs of several seeds and orders share those of the folder that holds them."""
    folder = folder.resolve()
    while folder.name.startswith(('seed-', 'order-')):
        folder = folder.parent
    return folder / FOLDER / ANSWERS


def write_judged(run: RunCells, judge: Judge, cells: Iterable[JudgedCell]) -> list[JudgedCell]:
    """Everything a judge has to say of a run; the cells come back without their items, which are on disk."""
    cells = [_write_items(run, cell) for cell in cells]
    switches = {'judge_parse': judge.parse, 'judge_decoding': judge.decoding,
                'denominator': 'upstream' if judge.parse == 'upstream' else 'default'}
    records = [{**_where(cell), 'scorer': SCORER, 'switches': switches, 'score': cell.score, 'counts': cell.counts}
               for cell in cells]
    atomic.write_json(run.folder / JUDGE, {'schema': JUDGE_SCHEMA, 'judge': judge.identity, 'threshold': judge.threshold,
                                           'cells': records})
    atomic.write_json(run.folder / MATRIX, judge_matrix(run, cells).to_json())
    write_failures(run, cells, judge)
    return cells


def _write_items(run: RunCells, cell: JudgedCell) -> JudgedCell:
    lines = ''.join(json.dumps(item) + '\n' for item in cell.items)
    atomic.write_text(run.folder / FOLDER / cell.place.stage / cell.place.path.name, lines)
    return replace(cell, items=[])


def write_failures(run: RunCells, cells: Sequence[JudgedCell], judge: Judge | None = None) -> None:
    """failures.json: the split by the judge, or by the scorers' lenient forms without one."""
    blob = {'schema': FAILURES_SCHEMA, 'by': 'judge' if judge else 'lenient', 'judge': judge and judge.identity,
            'threshold': judge and judge.threshold, 'tasks': [task.name for task in run.stream],
            'cells': [_failures(cell) for cell in cells], 'drops': drops(cells)}
    atomic.write_json(run.folder / FAILURES, blob)


def judge_matrix(run: RunCells, cells: Sequence[JudgedCell]) -> ScoreMatrix:
    """The second matrix, beside truth alignment; a published reading that falls below zero stands as zero there."""
    at = {(cell.place.row, cell.place.column): cell for cell in cells if cell.score is not None}

    def row(index: int) -> tuple[float | None, ...]:
        return tuple(max(0.0, at[index, column].score) if (index, column) in at else None
                     for column in range(len(run.stream)))

    names = {cell.place.task.name: cell.counts['items'] for cell in at.values()}
    zero = row(0)
    return ScoreMatrix(tuple(task.name for task in run.stream), tuple(row(i) for i in range(1, len(run.stages))),
                       zero if any(score is not None for score in zero) else None, dict.fromkeys(names, SCORER), names)


def drops(cells: Sequence[JudgedCell]) -> list[dict[str, Any]]:
    """For every task and every stage after its own: what was lost since it was learnt, by kind of failure."""
    split = {(cell.place.row, cell.place.column): cell for cell in cells
             if cell.split is not None and cell.truth.value is not None}
    found = []
    for (row, column), later in sorted(split.items()):
        learned = split.get((column + 1, column))
        if learned is not None and row > column + 1:
            found.append({**_where(later), 'since': learned.place.stage,
                          **failures.drop(learned.split, later.split, learned.truth.value, later.truth.value)})
    return found


def _failures(cell: JudgedCell) -> dict[str, Any]:
    if cell.split is None:
        return {**_where(cell), 'truth': cell.truth.value, 'reason': 'the scorer has no value per item'}
    return {**_where(cell), 'truth': cell.truth.value, **cell.split.to_json()}


def _where(cell: JudgedCell) -> dict[str, Any]:
    return {'stage': cell.place.stage, 'row': cell.place.row, 'task': cell.place.task.name}
