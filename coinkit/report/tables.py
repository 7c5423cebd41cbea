"""Tables of an analysis: one structure, rendered for the terminal, CSV, LaTeX and (by html.py) a page.

Text and LaTeX round to two decimals; CSV keeps full precision and puts a standard deviation in a column of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coinkit.report.aggregate import Run, Stat
from coinkit.report.analysis import Analysis
from coinkit.report.continual import FORMULAS, zero_shot_mean
from coinkit.report.cost import SECONDS, STORED, TRAINED

if TYPE_CHECKING:
    from rich.console import Console

ARROWS = {'higher': '↑', 'lower': '↓'}
_TASK_COLUMNS = {'zero_shot': 'zero-shot', 'learned': 'learned', 'final': 'final', 'BWT': 'BWT',
                 'Forgetting_max': 'Forgetting_max', 'FWT': 'FWT'}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one label (or more texts) and values. `corner` heads the label column."""

    name: str  # part of a file name
    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Stat | str, ...]], ...]
    notes: tuple[str, ...] = ()


def tables_of(analysis: Analysis, *, explained: bool = True) -> list[Table]:
    """All tables: the matrix of each run, the metrics, and the tasks; `explained` with formulas, for people to read."""
    from coinkit.report.judge_tables import judge_tables  # which is made of this module's tables
    runs = analysis.runs
    matrices = [matrix_table(run) for run in runs if run.matrix is not None]
    one = explained and len(runs) == 1
    metrics = single_metrics_table(runs[0]) if one else metrics_table(runs, aliases=not explained)
    routes = [routing_table(run) for run in runs if run.routing is not None]
    judged = [table for run in runs for table in judge_tables(run)]
    costs = [cost_table(runs)] if any(run.cost for run in runs) else []
    return [*matrices, metrics, *(task_table(run) for run in runs), *routes, *costs, *judged]


def matrix_table(run: Run) -> Table:
    """Row 0 is zero-shot; the last column is the average over the tasks seen so far (row 0: over all tasks)."""
    matrix, std = run.matrix, run.std
    n = max(1, len(run.members))
    rows = [] if matrix.zero_shot is None else [
        ('0 zero-shot', (*(Stat(value) for value in matrix.zero_shot), Stat(zero_shot_mean(matrix.zero_shot))))]
    for i, scores in enumerate(matrix.scores):
        cells = [Stat(value, std[i][j] if std else None, n) for j, value in enumerate(scores)]
        rows.append((f'{i + 1} {run.tasks[i]}', (*cells, run.curve[i])))
    return Table(f'matrix-{file_name(run.name)}', f'{run.name}: score after each stage', 'after', (*run.tasks, 'mean'),
                 tuple(rows), tuple(f'missing: {gap}' for gap in run.missing))


def metrics_table(runs: Sequence[Run], *, aliases: bool = False) -> Table:
    """One row per run, one column per metric that any of them has."""
    shown = [formula for formula in FORMULAS if (aliases or not formula.alias_of)
             and any(formula.name in run.metrics for run in runs)]
    rows = tuple((run.name, tuple(run.metrics.get(formula.name, Stat(None)) for formula in shown)) for run in runs)
    notes = (*(f'{formula.name} {ARROWS[formula.direction]} = {formula.text}' for formula in shown), *_rows_notes(runs))
    return Table('metrics', 'continual metrics', 'run', tuple(formula.name for formula in shown), rows, notes)


def _rows_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Why some runs lack metrics: a line for all that have the same rows."""
    names: dict[str, list[str]] = {}
    for run in runs:
        if run.only:
            names.setdefault(run.only, []).append(run.name)
    return tuple(f'{", ".join(same)}: {only}; metrics that need other rows have no value.' for only, same in names.items())


def single_metrics_table(run: Run) -> Table:
    """One row per metric, with its formula: for one run, which has room for it."""
    names = {formula.alias_of: f'{formula.alias_of} = {formula.name}' for formula in FORMULAS
             if formula.alias_of and formula.name != 'Forgetting_diag'}
    rows = tuple((names.get(formula.name, formula.name), (
        run.metrics[formula.name], f'{ARROWS[formula.direction]} {formula.direction}', formula.text, formula.note))
        for formula in FORMULAS if not formula.alias_of and formula.name in run.metrics)
    return Table('metrics', f'{run.name}: continual metrics', 'metric', ('value', 'better', 'formula', ''), rows,
                 _rows_notes([run]))


def task_table(run: Run) -> Table:
    """Per task: learned, final and what was lost between."""
    present = [key for key in _TASK_COLUMNS if all(key in columns for columns in run.per_task.values())]
    rows = tuple((task, tuple(columns[key] for key in present)) for task, columns in run.per_task.items())
    return Table(f'tasks-{file_name(run.name)}', f'{run.name}: per task', 'task',
                 tuple(_TASK_COLUMNS[key] for key in present), rows)


def routing_table(run: Run) -> Table:
    """Per stage: percent of each task's samples that a right stage answered; unparsed where the method counts it."""
    routing, rows = run.routing, []
    for stage in routing.stages:
        shares = [Stat(routing.right(stage, task)) for task in routing.tasks]
        count = routing.unparsed(stage)
        label = f'{stage.stage} {run.tasks[stage.stage - 1]}' if stage.stage else '0 zero-shot'
        rows.append((label, (*shares, Stat(routing.accuracy(stage)), '–' if count is None else str(count))))
    last = routing.stages[-1]
    if not routing.shares(last):
        title, notes = 'routed to the stage of the task itself, percent', ()
    else:
        title, answers = 'routed to the stage that is right for the task, percent', {}
        for task, right in routing.all_right(last).items():
            answers.setdefault(' or '.join(right), []).append(task)
        listed = '; '.join(f'{stage} for {", ".join(tasks)}' for stage, tasks in answers.items())
        notes = (f'Tasks share adapters. Right after {last.name}: {listed}.',)
    return Table(f'routing-{file_name(run.name)}', f'{run.name}: {title}', 'after', (*routing.tasks, 'all', 'unparsed'),
                 tuple(rows), notes)


def cost_table(runs: Sequence[Run]) -> Table:
    """Numbers trained and stored, in millions, and seconds of training."""
    rows = []
    for run in runs:
        cost = run.cost or dict.fromkeys((TRAINED, STORED, SECONDS), Stat(None))
        rows.append((run.name, (_millions(cost[TRAINED]), _millions(cost[STORED]), cost[SECONDS])))
    notes = ('trained: the most that any phase trains. stored: adapters of the stages that answer after the last one (of '
             "earlier ones the blocks that answer), and the method's own tensors. train seconds: data passes included, "
             'measuring not.',)
    return Table('cost', 'cost', 'run', ('trained (M)', 'stored (M)', 'train seconds'), tuple(rows), notes)


def _millions(stat: Stat) -> Stat:
    mean, std = (None if value is None else value / 1e6 for value in (stat.mean, stat.std))
    return Stat(mean, std or None, stat.n)


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Terminal rendering."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text
    for table in tables:
        rich = RichTable(box=box.SIMPLE_HEAD, title=Text(table.title), title_justify='left', title_style='bold',
                         pad_edge=False)
        rich.add_column(table.corner, overflow='fold')
        for index, column in enumerate(table.columns):
            numeric = all(isinstance(cells[index], Stat) for _, cells in table.rows)
            rich.add_column(Text(column), justify='right' if numeric else 'left', overflow='fold')
        for label, cells in table.rows:
            rich.add_row(Text(label), *(Text(cell_text(cell)) for cell in cells))
        console.print(rich)
        for note in table.notes:
            console.print(note, style='dim', markup=False, highlight=False)


def to_csv(table: Table) -> str:
    """Full precision; a column `X std` beside `X` where a standard deviation is known."""
    spread = [any(isinstance(cells[i], Stat) and cells[i].n > 1 for _, cells in table.rows)
              for i in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    header = [[column, f'{column} std'] if wide else [column]
              for column, wide in zip(table.columns, spread, strict=True)]
    writer.writerow([table.corner, *(name for names in header for name in names)])
    for label, cells in table.rows:
        values = [_csv_cells(cell, wide) for cell, wide in zip(cells, spread, strict=True)]
        writer.writerow([label, *(value for pair in values for value in pair)])
    return out.getvalue()


def to_latex(table: Table) -> str:
    """A booktabs table body with caption; names are escaped."""
    columns = ['l', *('r' if all(isinstance(cells[i], Stat) for _, cells in table.rows) else 'l'
                      for i in range(len(table.columns)))]
    lines = [r'\begin{table}', r'\centering', rf'\caption{{{latex_escape(table.title)}}}',
             rf'\begin{{tabular}}{{{"".join(columns)}}}', r'\toprule',
             _latex_row([table.corner, *table.columns]), r'\midrule']
    lines += [_latex_row([label, *cells]) for label, cells in table.rows]
    return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', r'\end{table}', ''])


def cell_text(cell: Stat | str) -> str:
    """Two decimals; '–' where there is no value; ± where several runs were averaged."""
    if isinstance(cell, str):
        return cell
    if cell.mean is None:
        return '–'
    return f'{cell.mean:.2f}' + (f' ±{cell.std:.2f}' if cell.std is not None else '')


def file_name(name: str) -> str:
    """A run's name as part of a file name."""
    return ''.join(letter if letter.isalnum() or letter in '-_.' else '-' for letter in name).strip('-.') or 'run'


def latex_escape(text: str) -> str:
    return ''.join(_LATEX.get(letter, letter) for letter in text)


def _latex_row(cells: Sequence[Stat | str]) -> str:
    return ' & '.join(map(_latex_cell, cells)) + r' \\'


def _latex_cell(cell: Stat | str) -> str:
    if isinstance(cell, str):
        return latex_escape(cell)
    if cell.mean is None:
        return '--'
    spread = '' if cell.std is None else rf' \pm {cell.std:.2f}'
    return f'${cell.mean:.2f}{spread}$' if spread or cell.mean < 0 else f'{cell.mean:.2f}'


def _csv_cells(cell: Stat | str, wide: bool) -> list[object]:
    if isinstance(cell, str):
        return [cell]
    return [cell.mean, cell.std] if wide else [cell.mean]


_LATEX: Mapping[str, str] = {
    '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_', '{': r'\{', '}': r'\}', '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}', '\\': r'\textbackslash{}', '−': '$-$', 'Σ': r'$\Sigma$', '≤': r'$\le$', '≥': r'$\ge$',
    '↑': r'$\uparrow$', '↓': r'$\downarrow$', '±': r'$\pm$', '–': '--'}
