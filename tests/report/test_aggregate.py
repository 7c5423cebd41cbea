"""Seeds and orders are found and averaged; what one member lacks is not averaged away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from coinkit.errors import DataError
from coinkit.report.aggregate import Stat, aggregate, find_run, run_of_matrix, unique_names
from coinkit.report.analysis import Analysis
from coinkit.report.html import render
from coinkit.report.matrix_io import write_matrix
from coinkit.types import ScoreMatrix


def matrix(final: float, tasks=('a', 'b'), zero=None) -> ScoreMatrix:
    return ScoreMatrix(tuple(tasks), ((80.0, None), (final, 60.0)), zero)


def test_seeds_are_averaged_per_cell_and_per_metric(tmp_path):
    for seed, final in ((2, 30.0), (10, 50.0), (1, 40.0)):
        write_matrix(tmp_path / f'seed-{seed}' / 'matrix.json', matrix(final))
    run = find_run(tmp_path)
    assert [member.name for member in run.members] == ['seed-1', 'seed-2', 'seed-10']
    assert run.matrix.scores == ((80.0, None), (40.0, 60.0))
    assert run.std == ((0.0, None), (10.0, 0.0))
    assert run.metrics['BWT'] == Stat(-40.0, 10.0, 3)
    assert run.metrics['ACC'] == Stat(50.0, 5.0, 3)
    assert run.curve == (Stat(80.0, 0.0, 3), Stat(50.0, 5.0, 3))
    assert run.per_task['a']['final'] == Stat(40.0, 10.0, 3)


def test_orders_are_averaged_by_task_name_without_a_matrix(tmp_path):
    write_matrix(tmp_path / 'order-x' / 'matrix.json', matrix(30.0))
    write_matrix(tmp_path / 'order-y' / 'matrix.json', matrix(50.0, tasks=('b', 'a')))
    run = find_run(tmp_path)
    assert run.matrix is None
    assert run.per_task['a']['final'].mean == 45.0  # 30 after order x, 60 after order y
    assert run.metrics['BWT'].mean == -40.0


def test_seeds_inside_orders(tmp_path):
    for seed, final in ((1, 30.0), (2, 50.0)):
        write_matrix(tmp_path / 'order-x' / f'seed-{seed}' / 'matrix.json', matrix(final))
    run = find_run(tmp_path)
    assert run.metrics['BWT'].mean == -40.0
    assert run.members[0].metrics['BWT'] == Stat(-40.0, pytest.approx(14.142135), 2)


def test_a_missing_cell_of_one_seed_is_missing_in_the_mean():
    broken = ScoreMatrix(('a', 'b'), ((80.0, None), (None, 60.0)))
    run = aggregate('r', [run_of_matrix('one', matrix(30.0)), run_of_matrix('two', broken)])
    assert run.metrics['ACC'].mean is None
    assert run.metrics['MFT'].mean == 70.0
    assert run.matrix.scores[1][0] is None
    assert run.missing == ('two: after stage 2 (b): a',)


def test_a_seed_without_a_result_is_named(tmp_path):
    write_matrix(tmp_path / 'seed-1' / 'matrix.json', matrix(30.0))
    (tmp_path / 'seed-2').mkdir()
    assert find_run(tmp_path).missing == ('seed-2: no matrix.json yet',)


def test_zero_shot_is_averaged_only_where_all_have_it():
    runs = [run_of_matrix('1', matrix(30.0, zero=(1.0, 3.0))), run_of_matrix('2', matrix(30.0, zero=(3.0, 5.0)))]
    assert aggregate('r', runs).matrix.zero_shot == (2.0, 4.0)
    assert aggregate('r', [*runs, run_of_matrix('3', matrix(30.0))]).matrix.zero_shot is None


def test_unfinished_matrices_are_filled_up():
    run = run_of_matrix('r', ScoreMatrix(('a', 'b'), ((80.0, None),)))
    assert run.matrix.scores[1] == (None, None)
    assert run.missing == ('after stage 2 (b): a', 'after stage 2 (b): b')


LEDGERS = {  # stages that were begun: skipped or done
    'joint': (['stage_started 01-a', 'stage_skipped 01-a', 'stage_started 02-b', 'stage_done 02-b'], 'last row'),
    'sequential': (['stage_started 01-a', 'stage_done 01-a', 'stage_started 02-b', 'stage_done 02-b'], ''),
    'zero shot': (['stage_done 00-zero-shot', 'run_done 0'], 'zero-shot row'),
    'begun': (['stage_done 00-zero-shot'], '')}


@pytest.mark.parametrize('kind', LEDGERS)
def test_rows_that_nothing_was_trained_for_are_not_missing(tmp_path, kind):
    """And the others are, whatever the method."""
    events, only = LEDGERS[kind]
    lines = [dict(zip(('event', 'stage'), event.split(), strict=True), time=1) for event in events]
    (tmp_path / 'ledger.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    write_matrix(tmp_path / 'matrix.json', ScoreMatrix(('a', 'b'), ((None, None), (None, 60.0)), (1.0, 2.0)))
    run, seeds = find_run(tmp_path), aggregate('seeds', [find_run(tmp_path)] * 2)
    gaps = {'last row': [2], 'zero-shot row': [], '': [1, 2]}[only]
    assert [int(gap.split()[2]) for gap in run.missing] == gaps
    assert run.only == seeds.only == (f'only the {only} of the matrix is measured' if only else '')
    page = render(Analysis((run, replace(run, name='other'))))
    assert ('required cells are missing' in page) == bool(gaps)
    assert page.count('metrics that need other rows have no value') == bool(only)


def test_a_matrix_alone_that_has_but_its_last_row_is_taken_as_it_is():
    row = ScoreMatrix(('a', 'b', 'c'), ((None,) * 3, (None,) * 3, (1.0, 2.0, 3.0)))
    run = run_of_matrix('r', row)
    assert (run.missing, run.only) == ((), 'only the last row of the matrix is measured') and run.metrics['ACC'].mean == 2.0
    holed = run_of_matrix('r', replace(row, scores=(*row.scores[:2], (1.0, None, 3.0))))
    assert (len(holed.missing), holed.only) == (4, '')


def test_errors(tmp_path):
    with pytest.raises(DataError, match='no such run directory'):
        find_run(tmp_path / 'nothing')
    with pytest.raises(DataError, match=r'no matrix\.json and no seed-N'):
        find_run(tmp_path)
    (tmp_path / 'seed-1').mkdir()
    with pytest.raises(DataError, match='none of its 1 seed-'):
        find_run(tmp_path)
    with pytest.raises(DataError, match='different tasks'):
        aggregate('r', [run_of_matrix('1', matrix(1.0)), run_of_matrix('2', matrix(1.0, tasks=('a', 'c')))])


def test_runs_with_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / parent / 'run' for parent in 'ab']
    for path in paths:
        write_matrix(path / 'matrix.json', matrix(1.0))
    assert [run.name for run in unique_names([find_run(path) for path in paths])] == list(map(str, paths))
