"""What a run cost, from the ledger's times and the headers of its adapter files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from coinkit.report.aggregate import find_run
from coinkit.report.analysis import analyze
from coinkit.report.cost import numbers_in, read_cost
from coinkit.report.matrix_io import write_matrix
from coinkit.report.tables import cell_text, cost_table, tables_of
from coinkit.types import ScoreMatrix

TASKS = ('a', 'b')
ZERO, A, B = '00-zero-shot', '01-a', '02-b'


def write_run(folder, *, route=None, trained=10_000_000, right=()):
    write_matrix(folder / 'matrix.json', ScoreMatrix(TASKS, ((80.0, None), (40.0, 60.0))))
    ledger = [
        ('stage_done', ZERO, 1), ('stage_started', A, 10), ('step_saved', A, 14), ('run_started', None, 100),
        ('stage_started', A, 101), ('phase_done', A, 104), ('stage_done', A, 105), ('cell_scored', A, 150),
        ('stage_started', B, 200), ('phase_done', B, 230), ('stage_done', B, 240), ('cell_scored', B, 300)]
    lines = []
    for event, stage, time in ledger:
        line = {'event': event, 'stage': stage, 'time': time, 'task': 'a'}
        lines.append(line | ({'trained': trained * (1 + (stage == A))} if event == 'phase_done' else {}))
    lines += [{'event': 'cell_scored', 'stage': B, 'task': task, 'right': [stage]} for task, stage in right]
    (folder / 'ledger.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines) + '{"torn')
    for stage, size in ((A, 3), (B, 5)):
        (folder / 'stages' / stage / 'adapter').mkdir(parents=True)
        (folder / 'stages' / stage / 'methods').mkdir()
        save_file({'x': np.zeros((size, 2)), 'y': np.zeros(())}, folder / 'stages' / stage / 'adapter/adapter.safetensors')
    save_file({'omega': np.zeros(100)}, folder / 'stages' / B / 'methods/methods.safetensors')
    if route:
        for task in TASKS:
            file = folder / 'predictions' / B / f'{task}.jsonl'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({'id': '1', 'prediction': '', 'references': [], 'route': route[task]}) + '\n')
    return folder


def test_seconds_leave_out_pauses_and_measuring(tmp_path):
    cost = read_cost(write_run(tmp_path), None)
    assert cost == {'trained': 20_000_000, 'stored': 11 + 100, 'seconds': 4 + 3 + 1 + 30 + 10}


@pytest.mark.parametrize('route, stored', [({'a': A, 'b': B}, 7 + 11 + 100), ({'a': A, 'b': A}, 7 + 100)])
def test_the_adapters_of_all_stages_that_answer_are_stored(tmp_path, route, stored):
    assert find_run(write_run(tmp_path, route=route)).cost['stored'].mean == stored


def test_an_expert_that_no_question_found_is_stored_where_the_method_says_it_is_right(tmp_path):
    run = find_run(write_run(tmp_path, route={'a': A, 'b': A}, right=[('a', A), ('b', B)]))
    assert run.cost['stored'].mean == 7 + 11 + 100


@pytest.mark.parametrize('route, stored', [({'a': A, 'b': B}, 2 * 7 + 30 + 100), ({'a': A, 'b': A}, 7 + 30 + 100)])
def test_what_waits_beside_an_expert_counts_from_the_newest_stage_alone(tmp_path, route, stored):
    """A router's block: of every stage's, the last one chooses who answers, also when its own expert never does."""
    write_run(tmp_path, route=route)
    for stage in (A, B):
        folder, blocks = tmp_path / 'stages' / stage / 'adapter', {'expert': (True, 2), 'routing': (False, 10)}
        sizes = {f'bank.q.{block}.{half}': factor * size for block, (_, size) in blocks.items()
                 for half, factor in (('A', 1), ('B', 2))}
        save_file({'model.projector': np.zeros(1)} | {name: np.zeros(size) for name, size in sizes.items()},
                  folder / 'adapter.safetensors')
        card = {'bank': {'blocks': [{'name': name, 'active': active} for name, (active, _) in blocks.items()]}}
        (folder / 'card.json').write_text(json.dumps(card))
    assert find_run(tmp_path).cost['stored'].mean == stored


def test_nothing_without_a_trained_stage(tmp_path):
    write_matrix(tmp_path / 'matrix.json', ScoreMatrix(TASKS, ((80.0, None), (40.0, 60.0))))
    assert find_run(tmp_path).cost is None
    assert 'cost' not in {table.name for table in tables_of(analyze([tmp_path]))}


def test_the_table_averages_over_seeds(tmp_path):
    for seed in (0, 1):
        (tmp_path / 'run' / f'seed-{seed}').mkdir(parents=True)
        write_run(tmp_path / 'run' / f'seed-{seed}', trained=10_000_000 + seed * 2_000_000)
    (label, cells), = cost_table([find_run(tmp_path / 'run')]).rows
    assert (label, [cell_text(cell) for cell in cells]) == ('run', ['22.00 ±2.83', '0.00', '48.00 ±0.00'])


def test_numbers_are_counted_from_the_header(tmp_path):
    save_file({'a': np.zeros((2, 3)), 'b': np.zeros(())}, tmp_path / 'x.safetensors', metadata={'k': 'v'})
    assert numbers_in(tmp_path / 'x.safetensors') == 7
