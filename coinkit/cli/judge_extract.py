"""`coinkit judge RUN_DIR --extract`: short answers read out of those that a scorer could not read; what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coinkit.judges.base import Judge
from coinkit.judges.cache import AnswerCache
from coinkit.judges.cells import RunCells
from coinkit.judges.extraction import MATRIX, ExtractedCell, extractable, extracted_cell, write_extracted


def write_and_show(runs: Sequence[RunCells], judge: Judge, cache: AnswerCache) -> None:
    """Every cell that has predictions, whether it was asked about now or before."""
    for run in runs:
        places = [place for _, place in extractable([(run, place) for place in run.places()])]
        show(run.folder, write_extracted(run, judge, (extracted_cell(run, place, judge, cache) for place in places)))


def show(folder: Path, cells: Sequence[ExtractedCell]) -> None:
    from rich.table import Table

    from coinkit.cli.screen import show as show_on_screen

    table = Table('after', 'task', 'before', 'with extractions', 'wanted', 'unanswered')
    for column in table.columns[2:]:
        column.justify = 'right'
    for cell in cells:
        after = None if cell.score is None else cell.score.value
        table.add_row(cell.place.stage, cell.place.task.name, _two(cell.before), _two(after), str(cell.wanted),
                      str(cell.unanswered))
    show_on_screen(table)
    if (folder / MATRIX).exists():
        print(f'the matrix with these scores: coinkit analyze --matrix {folder / MATRIX}')


def _two(value: float | None) -> str:
    return '–' if value is None else f'{value:.2f}'
