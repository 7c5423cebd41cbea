"""One table, several renderings: rounding, escaping, missing values and standard deviations."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from coinkit.report.aggregate import Stat, aggregate, run_of_matrix
from coinkit.report.analysis import Analysis
from coinkit.report.tables import (
    cell_text,
    latex_escape,
    matrix_table,
    metrics_table,
    print_tables,
    tables_of,
    task_table,
    to_csv,
    to_latex,
)
from coinkit.types import ScoreMatrix

RUN = run_of_matrix('fine_tune', ScoreMatrix(('OCR_VQA', 'b'), ((80.0, None), (100 / 3, 60.0)), (1.0, 2.0)))
OTHER = run_of_matrix('other', ScoreMatrix(('OCR_VQA', 'b'), ((80.0, None), (50.0, 60.0))))
SEEDS = aggregate('seeds', [RUN, OTHER])


def text_of(tables, width=200) -> str:
    console = Console(width=width, file=io.StringIO())
    print_tables(tables, console)
    return console.file.getvalue()


def test_matrix_table_has_zero_shot_stages_and_mean():
    table = matrix_table(RUN)
    assert [label for label, _ in table.rows] == ['0 zero-shot', '1 OCR_VQA', '2 b']
    assert [cell_text(cell) for cell in table.rows[2][1]] == ['33.33', '60.00', '46.67']
    assert [cell_text(cell) for cell in table.rows[0][1]] == ['1.00', '2.00', '1.50']


def test_text_shows_formulas_and_never_reads_names_as_markup():
    odd = run_of_matrix('[red]x[/]', ScoreMatrix(('[bold]a', 'b'), ((80.0, None), (20.0, 60.0))))
    text = text_of(tables_of(Analysis((odd,))))
    assert '[red]x[/]: score after each stage' in text
    assert '[bold]a' in text
    assert 'ACC = MFN' in text and '(1/(T−1)) Σ_{j<T} (A[T][j] − A[j][j])' in text and '-60.00' in text


def test_several_runs_have_a_row_each():
    table = metrics_table([RUN, SEEDS])
    assert [label for label, _ in table.rows] == ['fine_tune', 'seeds']
    assert 'NewACC' not in table.columns
    assert 'NewACC' in metrics_table([RUN], aliases=True).columns
    assert '±' in text_of([table])


def test_csv_keeps_precision_and_gives_std_its_column():
    rows = list(csv.reader(io.StringIO(to_csv(metrics_table([RUN, SEEDS])))))
    assert rows[0][:3] == ['run', 'ACC', 'ACC std']
    assert float(rows[1][1]) == pytest.approx((100 / 3 + 60) / 2, abs=1e-12)
    assert rows[1][2] == ''
    assert float(rows[2][2]) == pytest.approx(abs(50 - 100 / 3) / 2 / 2 ** 0.5)


def test_latex_is_escaped_booktabs():
    text = to_latex(matrix_table(RUN))
    assert r'\toprule' in text and r'\bottomrule' in text
    assert r' & OCR\_VQA & b & mean \\' in text
    assert r'1 OCR\_VQA & 80.00 & -- & 80.00 \\' in text
    assert r'$-46.67$' in to_latex(task_table(RUN))
    assert r'\pm' in to_latex(metrics_table([SEEDS]))


def test_latex_escape():
    assert latex_escape(r'50% of $x_1$ & #2 {a}~^\ ') == (
        r'50\% of \$x\_1\$ \& \#2 \{a\}\textasciitilde{}\textasciicircum{}\textbackslash{} ')


def test_cells():
    assert [cell_text(cell) for cell in (Stat(None), Stat(1.005), Stat(2.0, 0.5, 3), 'x')] == [
        '–', '1.00', '2.00 ±0.50', 'x']
