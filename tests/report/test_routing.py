"""Routes: counted from predictions of any method, shown as a table and a picture, kept as routing.json."""

from __future__ import annotations

import json
import shutil

import pytest

from coinkit.errors import DataError
from coinkit.report.aggregate import find_run
from coinkit.report.analysis import Analysis
from coinkit.report.canvas import png_bytes
from coinkit.report.figures import draw
from coinkit.report.matrix_io import write_matrix
from coinkit.report.route_map import route_map
from coinkit.report.routing import Routing, read_routing, summed
from coinkit.report.tables import cell_text, routing_table
from coinkit.report.writer import write_report
from coinkit.types import ScoreMatrix

TASKS = ('Sci QA', 'b')
SCI, B = '01-sci-qa', '02-b'


def write_run(folder, routes, *, notes=None, right=None):
    """`routes`: stage -> task file -> route of each sample."""
    write_matrix(folder / 'matrix.json', ScoreMatrix(TASKS, ((80.0, None), (40.0, 60.0))))
    for stage, files in routes.items():
        for task, found in files.items():
            path = folder / 'predictions' / stage / f'{task}.jsonl'
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [{'id': str(i), 'prediction': 'x\u2028y', 'references': []} | ({'route': route} if route else {})
                     for i, route in enumerate(found)]
            path.write_text(''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines), encoding='utf-8')
    said = {'notes': notes or {}, 'right': right or {}}
    events = [{'event': 'cell_scored', 'stage': stage, 'task': task} | {key: each[stage, task] for key, each in said.items()
                                                                        if (stage, task) in each}
              for stage, task in dict.fromkeys([*said['notes'], *said['right']])]
    (folder / 'ledger.jsonl').write_text(''.join(json.dumps(event) + '\n' for event in events) + '{"torn')
    return folder


@pytest.fixture
def run_dir(tmp_path):
    routes = {SCI: {'sci-qa': [SCI] * 4, 'b': [SCI] * 2}, B: {'sci-qa': [SCI, SCI, SCI, B], 'b': [B, '00-zero-shot']}}
    return write_run(tmp_path / 'run', routes, notes={(B, 'Sci QA'): {'Mine.unparsed': 2.0, 'Mine.other': 7.0},
                                                      (B, 'b'): {'Mine.unparsed': 1.0}})


def test_counts_accuracy_and_unparsed(run_dir) -> None:
    first, second = (routing := read_routing(run_dir, TASKS)).stages
    assert first.counts == {'Sci QA': {SCI: 4}, 'b': {SCI: 2}}
    assert (routing.right(first, 'Sci QA'), routing.right(first, 'b')) == (100.0, None), 'b is not trained yet'
    assert routing.accuracy(first) == 100.0 and routing.unparsed(first) is None
    assert second.counts == {'Sci QA': {SCI: 3, B: 1}, 'b': {'00-zero-shot': 1, B: 1}}
    assert (routing.right(second, 'Sci QA'), routing.right(second, 'b')) == (75.0, 50.0)
    assert routing.accuracy(second) == pytest.approx(100 * 4 / 6)
    assert routing.unparsed(second) == 3


@pytest.fixture
def sharing(tmp_path):
    """Both tasks are one group: after stage 2 the second adapter is right for both."""
    routes = {SCI: {'sci-qa': [SCI] * 4}, B: {'sci-qa': [B] * 4, 'b': [B, SCI]}}
    return write_run(tmp_path / 'sharing', routes, right={(SCI, 'Sci QA'): [SCI], (B, 'Sci QA'): [B], (B, 'b'): [B]})


def test_what_is_right_is_what_the_method_said(sharing) -> None:
    first, second = (routing := read_routing(sharing, TASKS)).stages
    assert [routing.right(first, 'Sci QA'), *(routing.right(second, task) for task in TASKS)] == [100.0, 100.0, 50.0]
    assert routing.accuracy(second) == pytest.approx(100 * 5 / 6)
    assert (routing.shares(first), routing.shares(second)) == (False, True)
    write_report(sharing)
    blob = json.loads((sharing / 'routing.json').read_text())
    assert [stage['right'] for stage in blob['stages']] == [{'Sci QA': [SCI]}, {'Sci QA': [B], 'b': [B]}]
    assert blob['stages'][1]['confusion'] == {'Sci QA': {B: 4}, 'b': {B: 1, SCI: 1}}
    assert Routing.from_json(blob) == routing
    table = routing_table(find_run(sharing))
    assert table.notes == ('Tasks share adapters. Right after 02-b: 02-b for Sci QA, b.',) and 'itself' not in table.title


def test_a_file_from_before_right_was_kept_is_read(sharing) -> None:
    write_report(sharing)
    blob = json.loads((sharing / 'routing.json').read_text())
    for stage in blob['stages']:
        del stage['right']
    routing = Routing.from_json(blob)
    assert (routing.right(routing.stages[1], 'Sci QA'), routing.right(routing.stages[1], 'b')) == (0.0, 50.0)


def test_the_picture_of_shared_adapters_shows_those_that_are_right_or_answered(sharing, run_dir, tmp_path) -> None:
    unused = write_run(tmp_path / 'other', {B: {'sci-qa': [B], 'b': [B]}}, right={(B, 'Sci QA'): [B], (B, 'b'): [B]})
    for folder, columns in ((run_dir, ['zero-shot', 'sci-qa', 'b']), (sharing, ['sci-qa', 'b']), (unused, ['b'])):
        routing = read_routing(folder, TASKS)
        figure = route_map(routing, routing.stages[-1])
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == columns, folder


def test_seeds_in_which_other_stages_are_right_are_not_added_up(sharing, run_dir) -> None:
    apart, together = read_routing(run_dir, TASKS), read_routing(sharing, TASKS)
    assert [stage.name for stage in summed([apart, together]).stages] == [SCI]
    assert summed([together, together]).right(together.stages[1], 'b') == 50.0


def test_a_run_without_routes_has_none(tmp_path) -> None:
    folder = write_run(tmp_path, {SCI: {'sci-qa': [None, None]}})
    assert read_routing(folder, TASKS) is None
    write_report(folder)
    assert not (folder / 'routing.json').exists() and not (folder / 'figures' / 'routing.png').exists()


def test_report_table_picture_and_json(run_dir) -> None:
    write_report(run_dir)
    blob = json.loads((run_dir / 'routing.json').read_text())
    assert blob['schema'] == 'coinkit.routing/1' and blob['tasks'] == list(TASKS)
    assert [stage['accuracy'] for stage in blob['stages']] == [100.0, pytest.approx(66.666, abs=1e-3)]
    assert blob['stages'][1]['confusion']['Sci QA'] == {SCI: 3, B: 1} and blob['stages'][1]['unparsed'] == 3
    assert (run_dir / 'figures' / 'routing.svg').exists()
    page = (run_dir / 'report.html').read_text()
    assert 'Which stage answered' in page and '75.00' in page and 'unparsed' in page
    table = routing_table(find_run(run_dir))
    assert [[cell_text(cell) for cell in cells] for _, cells in table.rows] == [
        ['100.00', '–', '100.00', '–'], ['75.00', '50.00', '66.67', '3']]


def test_the_report_outlives_the_predictions(run_dir) -> None:
    write_report(run_dir)
    before = (run_dir / 'routing.json').read_bytes()
    shutil.rmtree(run_dir / 'predictions')
    write_report(run_dir)
    assert (run_dir / 'routing.json').read_bytes() == before


def test_seeds_are_added_up(run_dir, tmp_path) -> None:
    shutil.copytree(run_dir, tmp_path / 'both' / 'seed-0')
    shutil.copytree(run_dir, tmp_path / 'both' / 'seed-1')
    run = find_run(tmp_path / 'both')
    assert run.routing.stages[1].counts['Sci QA'] == {SCI: 6, B: 2} and run.routing.unparsed(run.routing.stages[1]) == 6
    names = [drawing.name for drawing in draw(Analysis((run,)))]
    assert names.count('routing') == 1
    assert all(png_bytes(drawing.figure) for drawing in draw(Analysis((run,))) if drawing.name == 'routing')


def test_a_line_that_is_no_prediction_is_named(run_dir) -> None:
    with open(run_dir / 'predictions' / B / 'b.jsonl', 'a') as file:
        file.write('[]\n')
    with pytest.raises(DataError, match='line 3 is not a prediction'):
        read_routing(run_dir, TASKS)
