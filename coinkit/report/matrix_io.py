"""Reading and writing accuracy matrices: a run directory, `coinkit.matrix/1` JSON, bare JSON, CSV.

Everything comes out as one square `ScoreMatrix`, or as one error that says which file, line and column is wrong. A
blank CSV cell or a JSON null is a cell that was not measured. A triangle written without its blank cells is accepted.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.errors import DataError, Problem
from coinkit.types import ScoreMatrix

FILE = 'matrix.json'
Rows = list[list[float | None]]
_ZERO_SHOT_LABELS = {'zeroshot', 'stage0', '0', 'base'}
_CORNERS = {'', 'stage', 'after', 'afterstage', 'task', 'tasks', 'row'}
_SHAPE = 'Needed: one row per stage and one value per task; leave cells that were not measured blank (null in JSON).'


def read_matrix(path: Path) -> ScoreMatrix:
    """The matrix of a run directory or of a JSON or CSV file."""
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding='utf-8-sig')
    except FileNotFoundError:
        raise _bad(path, 'there is no matrix here.',
                   f'Give a run directory with {FILE}, or a JSON or CSV file.') from None
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(file, f'cannot be read as text ({error}).') from None
    where = str(file)
    if not text.strip():
        raise _bad(where, 'the file is empty.', _SHAPE)
    return parse_json(text, where) if text.lstrip()[0] in '{[' else parse_csv(text, where)


def write_matrix(path: Path, matrix: ScoreMatrix) -> None:
    """`coinkit.matrix/1` JSON, atomically."""
    atomic.write_json(path, matrix.to_json())


def parse_json(text: str, where: str) -> ScoreMatrix:
    """A `coinkit.matrix/1` object, `{'tasks', 'scores'}`, or a nested list."""
    try:
        blob = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(f'{where}: line {error.lineno}, column {error.colno}', f'not JSON ({error.msg}).') from None
    blob = {'scores': blob} if isinstance(blob, list) else blob
    rows = blob.get('scores', blob.get('matrix'))
    schema = blob.get('schema')
    if schema not in (None, ScoreMatrix.SCHEMA) or not _is_table(rows):
        given = f'schema {schema!r}' if schema else f'keys {", ".join(map(repr, blob)) or "none"}'
        raise _bad(where, f'not a matrix ({given}).', f'Needed: schema {ScoreMatrix.SCHEMA!r}, or an object with '
                   "'tasks' and 'scores', or a list of rows.")
    tasks = _json_tasks(blob.get('tasks'), len(rows), where)
    if schema is not None:  # a run that is not finished may stop at its last stage
        rows = [*rows, *[[None] * len(tasks)] * (len(tasks) - len(rows))]
    rows = _square(rows, len(tasks), where, [f'scores[{i}]' for i in range(len(rows))])
    own = schema is not None  # a run's own scores: CIDEr takes captions above 100, the published judge's reading below 0
    values = [[_number(value, f'{where}: scores[{i}][{j}] (after stage {i + 1}, {tasks[j]})', any_size=own)
               for j, value in enumerate(row)] for i, row in enumerate(rows)]
    return _matrix(tasks, values, _json_zero_shot(blob.get('zero_shot'), tasks, where, any_size=own),
                   blob.get('metrics') or {}, blob.get('counts') or {})


def parse_csv(text: str, where: str) -> ScoreMatrix:
    """A header of task names, then one row per stage; a label column and a zero-shot row where there are any."""
    lines = _csv_lines(text)
    (_, header), body = lines[0], lines[1:]
    labelled = _plain(header[0]) in _CORNERS or all(cells[0] and not _is_number(cells[0]) for _, cells in body)
    tasks = _check_tasks(header[1:] if labelled else header, f'{where}: line {lines[0][0]}')
    split = [(number, cells[0] if labelled else '', cells[1:] if labelled else cells) for number, cells in body]
    zero = [row for row in split if _plain(row[1]) in _ZERO_SHOT_LABELS and labelled][:1]
    stages = [row for row in split if row not in zero]
    _check_labels([label for _, label, _ in stages], tasks, where)
    rows = _square([cells for _, _, cells in stages], len(tasks), where, [f'line {number}' for number, _, _ in stages])
    first = 2 if labelled else 1

    def values(number: int, cells: Sequence[str | None]) -> list[float | None]:
        return [_number(_cell(cell), f'{where}: line {number}, column {column} ({task})')
                for column, (task, cell) in enumerate(zip(tasks, cells, strict=True), start=first)]

    zero_rows = [values(number, _square([cells], len(tasks), where, [f'line {number}'], square=False)[0])
                 for number, _, cells in zero]
    return _matrix(tasks, [values(number, cells) for (number, _, _), cells in zip(stages, rows, strict=True)],
                   zero_rows[0] if zero_rows else None)


def to_csv(matrix: ScoreMatrix) -> str:
    """CSV that `parse_csv` reads back; blank = not measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(['stage', *matrix.tasks])
    if matrix.zero_shot is not None:
        writer.writerow(['zero-shot', *matrix.zero_shot])
    for task, row in zip(matrix.tasks, matrix.scores, strict=True):
        writer.writerow([task, *row])
    return out.getvalue()


def _matrix(tasks: Sequence[str], rows: Rows, zero: Sequence[float | None] | None = None,
            metrics: Mapping[str, str] | None = None, counts: Mapping[str, int] | None = None) -> ScoreMatrix:
    return ScoreMatrix(tuple(tasks), tuple(map(tuple, rows)), None if zero is None else tuple(zero), metrics or {},
                       counts or {})


def _square(rows: Sequence[Sequence[Any]], size: int, where: str, names: Sequence[str], *, square: bool = True) -> list:
    """Rows of `size` cells; a bare triangle is filled up with None, anything else that is ragged is an error."""
    if square and len(rows) != size:
        raise _bad(where, f'{len(rows)} rows for {size} tasks.', _SHAPE)
    if square and size > 1 and [len(row) for row in rows] == list(range(1, size + 1)):
        return [[*row, *[None] * (size - len(row))] for row in rows]
    for name, row in zip(names, rows, strict=True):
        if len(row) != size:
            raise _bad(f'{where}: {name}', f'ragged: {len(row)} values where there are {size} tasks.', _SHAPE)
    return [list(row) for row in rows]


def _number(value: Any, where: str, *, any_size: bool = False) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(where, f'{value!r} is not a number.', 'Scores are percent, 0 to 100; leave missing cells blank.')
    if not any_size and not 0 <= value <= 100:
        raise _bad(where, f'{value:g} is outside 0..100.', 'Scores are percent.')
    return value


def _cell(text: str | None) -> Any:
    """A CSV cell: None when blank, a float when it reads as one, else the text (which is then refused by name)."""
    if text is None or not text:
        return None
    return float(text) if _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_table(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, list) for row in rows)


def _json_tasks(tasks: Any, count: int, where: str) -> list[str]:
    if tasks is None:
        return [f'task {number}' for number in range(1, count + 1)]
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise _bad(f'{where}: tasks', f'{tasks!r} is not a list of names.')
    return _check_tasks(tasks, f'{where}: tasks')


def _json_zero_shot(zero: Any, tasks: Sequence[str], where: str, *, any_size: bool) -> list[float | None] | None:
    if zero is None:
        return None
    if not isinstance(zero, list) or len(zero) != len(tasks):
        raise _bad(f'{where}: zero_shot', f'{zero!r} is not a row of {len(tasks)} values.')
    return [_number(value, f'{where}: zero_shot[{j}] ({tasks[j]})', any_size=any_size) for j, value in enumerate(zero)]


def _check_tasks(tasks: Sequence[str], where: str) -> list[str]:
    if not tasks or '' in tasks:
        raise _bad(where, f'not a matrix: {"a blank" if any(tasks) else "no"} task name in the header.', _SHAPE)
    if all(map(_is_number, tasks)):
        raise _bad(where, 'not a matrix: the first line has numbers where task names belong.', _SHAPE)
    twice = sorted({task for task in tasks if tasks.count(task) > 1})
    if twice:
        raise _bad(where, f'task {twice[0]!r} is there twice.')
    return list(tasks)


def _check_labels(labels: Sequence[str], tasks: Sequence[str], where: str) -> None:
    """Row i must be the stage of column i: labels that are task names in another order would be read wrongly."""
    if set(labels) == set(tasks) and list(labels) != list(tasks):
        raise _bad(where, f'rows are in the order {", ".join(labels)} but columns in the order {", ".join(tasks)}.',
                   'Put both in training order.')


def _csv_lines(text: str) -> list[tuple[int, list[str]]]:
    first = text.lstrip('\n').split('\n', 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(',;\t', key=first.count))
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    return [(number, cells) for number, cells in lines if any(cells)]


def _plain(label: str) -> str:
    return ''.join(letter for letter in label.lower() if letter.isalnum())


def _bad(where: Path | str, message: str, cure: str = '') -> DataError:
    return DataError(str(Problem(str(where), message, cure)))
