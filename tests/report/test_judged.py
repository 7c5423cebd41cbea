"""The judge's part of a report: only where it was judged, the mean over seeds, gaps, and files that are damaged."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.report.aggregate import find_run
from coinkit.report.analysis import Analysis, analyze
from coinkit.report.failure_bars import failure_bars
from coinkit.report.figures import draw
from coinkit.report.judge_tables import judge_tables
from coinkit.report.judged import Loss, TaskFailures, judged_run, task_failures
from coinkit.report.matrix_io import write_matrix
from coinkit.report.tables import tables_of
from coinkit.report.writer import write_files, write_report
from coinkit.types import ScoreMatrix

TRUTH = ScoreMatrix(('a', 'b'), ((80.0, None), (40.0, 60.0)))


def cell(row: int, task: str, **points: float) -> dict:
    return {'stage': f'{row:02d}', 'row': row, 'task': task, 'truth': 0.0,
            'points': {'format': 0.0, 'knowledge': 0.0, 'unjudged': 0.0, **points}}


def judged(folder, *, shift: float = 0.0):
    write_matrix(folder / 'matrix.json', TRUTH)
    write_matrix(folder / 'matrix.judge.json', ScoreMatrix(('a', 'b'), ((90.0 + shift, None), (80.0 - shift, 75.0))))
    (folder / 'judge.json').write_text(json.dumps({'judge': {'model': 'some/judge', 'revision': 'r1'}}))
    cells = [cell(1, 'a', knowledge=20.0), cell(2, 'a', format=30.0 + shift, knowledge=30.0 - shift),
             cell(2, 'b', unjudged=40.0)]
    (folder / 'failures.json').write_text(json.dumps({'schema': 'coinkit.failures/1', 'by': 'judge', 'cells': cells}))
    return folder


def values(table) -> dict[str, list]:
    return {label: [cell.mean if hasattr(cell, 'mean') else cell for cell in cells] for label, cells in table.rows}


def test_tables_of_a_judged_run(tmp_path):
    matrix, metrics, failures = judge_tables(find_run(judged(tmp_path / 'run')))
    assert 'some/judge r1' in matrix.title and values(matrix)['2 b'] == [80.0, 75.0, 77.5]
    metric_rows = {label: dict(zip(metrics.columns, cells, strict=True)) for label, cells in values(metrics).items()}
    assert metric_rows['truth alignment']['BWT'] == -40.0 and metric_rows['reasoning capability']['BWT'] == -10.0
    # learned, final, lost, of it format, knowledge, unjudged, share of format
    assert values(failures) == {'a': [80.0, 40.0, 40.0, 30.0, 10.0, 0.0, 75.0], 'b': [60.0, 60.0, 0.0, 0.0, 0.0, 0.0, None]}
    assert 'threshold' in failures.notes[0]


def test_the_report_and_forgetting_json_say_it(tmp_path):
    run = judged(tmp_path / 'run')
    write_report(run)
    page = (run / 'report.html').read_text()
    assert all(text in page for text in ('Reasoning capability after each stage', 'Why answers were wrong', 'some/judge'))
    blob = json.loads((run / 'forgetting.json').read_text())
    assert blob['judge']['model'] == 'some/judge r1' and blob['judge']['ACC'] == 77.5 and blob['ACC'] == 50.0
    first = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    write_report(run)
    assert {path: path.read_bytes() for path in run.rglob('*') if path.is_file()} == first


def test_a_run_that_was_not_judged_has_none_of_it(tmp_path):
    write_matrix(tmp_path / 'matrix.json', TRUTH)
    run = find_run(tmp_path)
    assert judged_run(run) is None and task_failures(run) == {} and not list(judge_tables(run))
    assert 'judge' not in Analysis((run,)).to_json()['runs'][0]
    assert not [drawing for drawing in draw(Analysis((run,))) if drawing.name.startswith(('judge', 'failures'))]


def test_failures_without_a_judge_name_the_lenient_form(tmp_path):
    folder = judged(tmp_path)
    (folder / 'matrix.judge.json').unlink()
    blob = json.loads((folder / 'failures.json').read_text()) | {'by': 'lenient'}
    (folder / 'failures.json').write_text(json.dumps(blob))
    (table,) = judge_tables(find_run(folder))
    assert 'lenient form' in table.notes[0]


def test_seeds_are_averaged_and_all_must_be_judged(tmp_path):
    for seed, shift in ((0, 0.0), (1, 10.0)):
        judged(tmp_path / f'seed-{seed}', shift=shift)
    run = find_run(tmp_path)
    assert judged_run(run).matrix.scores[1] == (75.0, 75.0)
    assert task_failures(run)['a'].final.points['format'] == 35.0
    (tmp_path / 'seed-1' / 'matrix.judge.json').unlink()
    (tmp_path / 'seed-1' / 'failures.json').unlink()
    run = find_run(tmp_path)
    assert judged_run(run) is None and task_failures(run) == {}


def test_runs_beside_each_other_have_files_of_their_own(tmp_path):
    runs = [judged(tmp_path / name) for name in ('one', 'two')]
    files = {path.relative_to(tmp_path / 'out').as_posix() for path in write_files(analyze(runs), tmp_path / 'out')}
    assert {'figures/judge-one.png', 'figures/failures-two.svg', 'judge-one.csv', 'failures-two.tex'} <= files


def test_cells_without_a_split_are_left_out(tmp_path):
    folder = judged(tmp_path)
    blob = json.loads((folder / 'failures.json').read_text())
    blob['cells'] = [blob['cells'][1], {'stage': '02', 'row': 2, 'task': 'b', 'reason': 'no value per item'}]
    (folder / 'failures.json').write_text(json.dumps(blob))
    run = find_run(folder)
    assert list(task_failures(run)) == ['a'] and task_failures(run)['a'].learned is None
    assert values(list(judge_tables(run))[-1]) == {'a': [None, 40.0, None, None, None, None, None]}
    assert any(drawing.name == 'failures' for drawing in draw(Analysis((run,))))


@pytest.mark.parametrize('text', ['{', '{"schema": "other/1", "cells": []}'])
def test_a_damaged_file_is_named(tmp_path, text):
    folder = judged(tmp_path)
    (folder / 'failures.json').write_text(text)
    with pytest.raises(DataError, match='failures.json.*coinkit judge'):
        tables_of(Analysis((find_run(folder),)))


def test_bars_are_a_hundred_long():
    loss = Loss(25.0, {'format': 25.0, 'knowledge': 40.0, 'unjudged': 10.0})
    axes = failure_bars({'a$b$': TaskFailures(loss, loss), 'c': TaskFailures(None, loss)}).axes[0]
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches]
    assert len(axes.patches) == 3 * 4 and max(ends) == pytest.approx(100)
