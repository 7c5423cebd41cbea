"""How scores were made: the table of scorers and counts, and the warning of pictures that could not be used."""

from __future__ import annotations

import json

import pytest

from coinkit.report.aggregate import find_run
from coinkit.report.analysis import analyze
from coinkit.report.matrix_io import write_matrix
from coinkit.report.scored import bad_image_flags, scorer_table
from coinkit.report.writer import write_report
from coinkit.types import ScoreMatrix

MATRIX = ScoreMatrix(('a', 'b'), ((80.0, None), (40.0, 60.0)))


def line(stage: str, task: str, *, switches: dict[str, object], **counts: int) -> dict:
    return {'event': 'cell_scored', 'stage': stage, 'task': task, 'metric': 'gqa', 'score': 1.0,
            'counts': {'items': 20, 'missing': 0, 'unparsed': 1, **counts},
            'details': {'scorer': 'gqa', 'switches': switches}}


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / 'run'
    write_matrix(folder / 'matrix.json', MATRIX)
    both = {'denominator': 'upstream', 'gqa_strip': 'default'}
    lines = [{'event': 'run_started'}, line('01-a', 'a', switches={'denominator': 'default'}),
             line('02-b', 'a', switches={'denominator': 'default'}, skipped=3),
             line('02-b', 'b', switches=both, without_picture=2)]
    (folder / 'ledger.jsonl').write_text(''.join(json.dumps(each) + '\n' for each in lines) + '{"event": "cell_sc')
    return folder


def test_bad_pictures_are_told_with_their_number(run_dir, tmp_path):
    assert bad_image_flags(find_run(run_dir)) == [
        'run: a: 3 of 20 test samples are wrong, because their pictures could not be used (1 of 2 cells).',
        'run: b: 2 of 20 test samples are asked without their pictures (1 of 1 cells).']
    assert analyze([run_dir]).warnings == tuple(bad_image_flags(find_run(run_dir)))
    page = write_report(run_dir).read_text()
    assert '3 of 20 test samples are wrong' in page and 'how the newest scores were made' in page.lower()


def test_over_seeds_each_run_tells_its_own(run_dir, tmp_path):
    for name in ('seed-0', 'seed-1'):
        folder = tmp_path / 'seeds' / name
        write_matrix(folder / 'matrix.json', MATRIX)
    (tmp_path / 'seeds' / 'seed-1' / 'ledger.jsonl').write_bytes((run_dir / 'ledger.jsonl').read_bytes())
    found = bad_image_flags(find_run(tmp_path / 'seeds'))
    assert len(found) == 2 and all('seed-1' in flag for flag in found)


def test_the_newest_cell_of_each_task(run_dir):
    table = scorer_table(find_run(run_dir))
    assert table.columns == ('after', 'scorer', 'switches', 'items', 'missing', 'unparsed', 'skipped', 'without picture')
    assert table.rows == (('a', ('02-b', 'gqa', 'default', '20', '0', '1', '3', '0')),
                          ('b', ('02-b', 'gqa', 'denominator=upstream, gqa_strip=default', '20', '0', '1', '0', '2')))


def test_a_matrix_alone_has_no_such_table(tmp_path):
    write_matrix(tmp_path / 'matrix.json', MATRIX)
    run = find_run(tmp_path / 'matrix.json')
    assert scorer_table(run) is None and not bad_image_flags(run)
