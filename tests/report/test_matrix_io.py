"""Matrices in every accepted form, and the error of every form that is not."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.report.matrix_io import parse_csv, parse_json, read_matrix, to_csv, write_matrix
from coinkit.types import ScoreMatrix

MATRIX = ScoreMatrix(('a', 'b'), ((50.0, None), (40.5, 60.0)), (1.0, 2.0), {'a': 'gqa'}, {'a': 100})
BARE = ScoreMatrix(('task 1', 'task 2'), ((50, None), (40, 60)))


def test_written_matrix_reads_back(tmp_path):
    write_matrix(tmp_path / 'matrix.json', MATRIX)
    assert read_matrix(tmp_path) == read_matrix(tmp_path / 'matrix.json') == MATRIX
    assert [path.name for path in tmp_path.iterdir()] == ['matrix.json']  # no temporary file left


@pytest.mark.parametrize('text', ['[[50, null], [40, 60]]', '[[50], [40, 60]]', '{"scores": [[50, null], [40, 60]]}',
                                  '{"matrix": [[50], [40, 60]]}'])
def test_bare_json(text):
    assert parse_json(text, 'm') == BARE


def test_csv_reads_back():
    again = parse_csv(to_csv(MATRIX), 'm')
    assert (again.tasks, again.scores, again.zero_shot) == (MATRIX.tasks, MATRIX.scores, MATRIX.zero_shot)


@pytest.mark.parametrize('text', [
    'stage,a,b\n1,50,\n2,40.5,60\n', ',a,b\nafter a,50\nafter b,40.5,60\n', 'a,b\n50,\n40.5,60',
    '\ufeffa;b\n50;\n40.5;60\n'.lstrip('\ufeff'), 'task\ta\tb\na\t50\t\n\nb\t40.5\t60', 'a,b\r\n50,\r\n40.5,60\r\n'])
def test_csv_forms(text):
    found = parse_csv(text, 'm')
    assert (found.tasks, found.scores, found.zero_shot) == (MATRIX.tasks, MATRIX.scores, None)


@pytest.mark.parametrize('label', ['zero-shot', 'Zero Shot', 'zero_shot', '0'])
def test_csv_zero_shot_row(label):
    assert parse_csv(f'stage,a,b\n{label},1,2\n1,50,\n2,40.5,60\n', 'm').zero_shot == (1.0, 2.0)


@pytest.mark.parametrize('text, message', [
    ('{"a": 1}', "not a matrix .keys 'a'"), ('{"schema": "other/2", "scores": [[1]]}', "schema 'other/2'"),
    ('[]', 'not a matrix'), ('[1, 2]', 'not a matrix'), ('{"scores": {"a": 1}}', 'not a matrix'),
    ('[[1, 2], [3]]', r'm: scores\[1\]: ragged: 1 values where there are 2 tasks'),
    ('[[1, 2]]', r'scores\[0\]: ragged'),
    ('{"tasks": ["a", "b"], "scores": [[1, 2]]}', '1 rows for 2 tasks'),
    ('[[1, null], [2, 101]]', r'scores\[1\]\[1\] .after stage 2, task 2.: 101 is outside 0..100'),
    ('[[1, null], [-0.1, 3]]', 'outside'), ('[[1, null], ["x", 3]]', "'x' is not a number"),
    ('[[true]]', 'True is not a number'), ('[[NaN]]', 'nan is not a number'),
    ('[[1, 2', 'line 1, column 7: not JSON'), ('{"tasks": ["a", "a"], "scores": [[1], [1, 2]]}', "'a' is there twice"),
    ('{"tasks": "ab", "scores": [[1], [1, 2]]}', 'not a list of names'),
    ('{"scores": [[1]], "zero_shot": [1, 2]}', 'not a row of 1')])
def test_bad_json(text, message):
    with pytest.raises(DataError, match=message):
        parse_json(text, 'm')


@pytest.mark.parametrize('text, message', [
    ('stage,a,b\n1,50,\n2,x,60\n', r"m: line 3, column 2 \(a\): 'x' is not a number"),
    ('a,b\n50,\n40,sixty\n', r'line 3, column 2 \(b\)'), ('a,b\nx,\n40,60\n', r"line 2, column 1 \(a\): 'x'"),
    ('a,b\n50,\n400,60\n', r'line 3, column 1 \(a\): 400 is outside'),
    ('a,b\n50,\n40,60,70\n', 'line 3: ragged: 3 values'), ('a,b\n50,\n', '1 rows for 2 tasks'),
    ('a,b\n50,\n40,nan\n', 'nan is not a number'), ('a,b\n50,\n\n40,y\n', 'line 4, column 2'),
    ('1,2\n3,4\n', 'numbers where task names belong'), ('stage,a,a\n1,2,\n2,3,4', 'twice'),
    ('stage,a,\n1,2,\n2,3,4', 'blank'),
    ('stage,a,b\nb,1,\na,2,3', 'training order'), ('stage,a,b\n0,1\n1,50,\n2,4,5', 'line 2: ragged'),
    ('just some words\nand more words', 'not a matrix: no task name')])
def test_bad_csv(text, message):
    with pytest.raises(DataError, match=message):
        parse_csv(text, 'm')


def test_bad_paths(tmp_path):
    with pytest.raises(DataError, match='there is no matrix here'):
        read_matrix(tmp_path)
    with pytest.raises(DataError, match='there is no matrix here'):
        read_matrix(tmp_path / 'no.json')
    (tmp_path / 'empty.json').write_text(' \n')
    with pytest.raises(DataError, match='empty'):
        read_matrix(tmp_path / 'empty.json')
    (tmp_path / 'image.png').write_bytes(b'\x89PNG\xff\xfe')
    with pytest.raises(DataError, match='cannot be read as text'):
        read_matrix(tmp_path / 'image.png')


def test_schema_is_the_contract(tmp_path):
    write_matrix(tmp_path / 'm.json', MATRIX)
    blob = json.loads((tmp_path / 'm.json').read_text())
    assert set(blob) == {'schema', 'tasks', 'metrics', 'counts', 'zero_shot', 'scores'}


def test_an_unfinished_run_may_have_fewer_rows():
    blob = {'schema': 'coinkit.matrix/1', 'tasks': ['a', 'b'], 'scores': [[50, None]]}
    assert parse_json(json.dumps(blob), 'm').scores == ((50, None), (None, None))
