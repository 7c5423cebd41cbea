"""Continual metrics: the recorded vectors, the published tables, and what happens where cells are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit.report import continual
from coinkit.report.continual import FORMULAS, measure

FOLDER = Path(__file__).parents[1] / 'golden' / 'eval'
VECTORS = json.loads((FOLDER / 'metric_formula_vectors.json').read_text())
PUBLISHED = json.loads((FOLDER / 'published_tables.json').read_text())

# Printed values that the printed cells do not give. LCIA's Forgetting takes the maximum over the stages before the
# last, which exceeds the diagonal here (the first may be a misprint): (table, method) -> printed minus recomputed.
FORGETTING_ABOVE_DIAGONAL = {('lcia_llava7b', 'LWF'): 0.30, ('lcia_qwenvl', 'EWC'): 10.73,
                             ('lcia_qwenvl', 'PGP'): 1.07, ('lcia_qwenvl', 'LCIA'): 0.99}
# The ablation tables print no cells: ACC and New.ACC are known to 0.005 each, BWT to 8/7 of both and its own 0.005.
WITHOUT_CELLS = 8 / 7 * 0.01 + 0.005
# In these rows the cells are those of single models and MFT is merely their mean.
SINGLE_MODELS = {'Zeroshot', 'Zero-shot', 'Oracle', 'Individual', 'Multi-Task'}


def rows():
    return [pytest.param(table['table'], table['tasks'], row, id=f"{table['table']}-{row['method']}")
            for table in PUBLISHED['tables'] for row in table['rows']]


@pytest.mark.parametrize('case', VECTORS['cases'], ids=lambda case: case['id'])
def test_vectors(case):
    found = measure(case['context']['matrix'], case['context'].get('zero_shot')).values
    assert found == pytest.approx(case['expected'], abs=VECTORS['about']['tolerance'])
    assert found.keys() == case['expected'].keys()


@pytest.mark.parametrize('table, tasks, row', rows())
def test_published_averages(table, tasks, row):
    """ACC (= MFN) is the mean of the final row, to rounding; single-model rows print that mean under MFT."""
    reported = row['reported']
    printed = reported.get('Avg.ACC', reported.get('MFN'))
    if row['method'] in SINGLE_MODELS and printed is None:
        printed = reported.get('MFT')
    final = [row['final'].get(task) for task in tasks]
    if not final or printed is None:
        assert not final or row['method'] in SINGLE_MODELS  # ablation tables print no cells; HiDe's zero-shot no mean
        return
    matrix = [[None] * len(final)] * (len(final) - 1) + [final]
    assert continual.ACC(matrix) == pytest.approx(printed, abs=PUBLISHED['about']['tolerance'])


@pytest.mark.parametrize('table, tasks, row', rows())
def test_published_backward_transfer(table, tasks, row):
    """A matrix with the printed ACC and MFT gives the printed BWT (or minus Forgetting) with denominator T - 1."""
    reported = row['reported']
    average, learned = reported.get('Avg.ACC', reported.get('MFN')), reported.get('New.ACC', reported.get('MFT'))
    forgetting = reported.get('Forgetting')
    printed = reported.get('BWT') if forgetting is None else -forgetting
    if None in (average, learned, printed):
        assert row['method'] in SINGLE_MODELS or table == 'coin_hide_protocol_llava'
        return
    num_tasks = len(tasks) or 8  # the ablation tables are over CoIN's eight tasks
    tolerance = PUBLISHED['about']['tolerance'] if tasks else WITHOUT_CELLS
    if tasks:
        average = sum(row['final'].values()) / num_tasks
    matrix = [[learned if j == i else average for j in range(num_tasks)] for i in range(num_tasks)]
    matrix[-1] = [average + (average - learned) / (num_tasks - 1)] * (num_tasks - 1) + [learned]
    assert continual.ACC(matrix) == pytest.approx(average)
    assert continual.MFT(matrix) == pytest.approx(learned)
    above = FORGETTING_ABOVE_DIAGONAL.get((table, row['method']), 0.0)
    assert -continual.BWT(matrix) + above == pytest.approx(-printed, abs=tolerance)


def test_coin_divides_by_all_tasks():
    """CoIN's LoRA row: ACC 28.74 and New.ACC 61.36 give -32.62 with /T and -37.28 with /(T - 1)."""
    matrix = [[61.36] * 8] * 7 + [[28.74 + (28.74 - 61.36) / 7] * 7 + [61.36]]
    assert continual.BWT_over_T(matrix) == pytest.approx(-32.62, abs=0.005)
    assert continual.BWT(matrix) == pytest.approx(-37.28, abs=0.005)


def test_one_task():
    found = measure([[70.0]], [10.0]).values
    assert (found['ACC'], found['MFT'], found['MAA'], found['BWT_over_T']) == (70.0, 70.0, 70.0, 0.0)
    for name in ('BWT', 'Forgetting_max', 'Forgetting_diag', 'FWT_raw', 'FWT'):
        assert found[name] is None


def test_missing_cells_make_null_and_are_listed():
    found = measure([[50, None, None], [None, 60, None], [40, 55, None]])
    assert found.missing == ((2, 1), (3, 3))
    assert found.values['ACC'] is None
    assert found.values['MFT'] is None
    assert found.values['MAA'] is None
    assert found.values['BWT'] == pytest.approx(-7.5)  # its cells are all there
    assert found.values['Forgetting_max'] is None  # stage 2 on task 1 could be the maximum
    assert found.curve == (50, None, None)


def test_forward_transfer_needs_its_cells_and_the_zero_shot_row():
    square, triangle = [[50, 20], [40, 60]], [[50, None], [40, 60]]
    assert measure(square, [10, 15]).values['FWT'] == 5.0
    assert measure(square).values['FWT_raw'] == 20.0
    assert 'FWT' not in measure(square).values
    assert 'FWT' not in measure(square, [10, None]).values
    assert not {'FWT', 'FWT_raw'} & measure(triangle, [10, 15]).values.keys()


def test_a_term_of_forgetting_can_be_negative():
    assert continual.task_forgetting([[50, None], [60, 70]]) == [-10, None]


def test_per_task_columns():
    found = measure([[50, 30], [40, 60]], [5, 10]).per_task
    assert found == {'zero_shot': (5, 10), 'learned': (50, 60), 'final': (40, 60), 'BWT': (-10, 0),
                     'Forgetting_max': (10, None), 'FWT': (None, 20)}


def test_every_metric_has_a_formula():
    assert [formula.name for formula in FORMULAS] == list(measure([[1, 2], [3, 4]], [0, 0]).values)
