"""Reading the predictions of a run for a judge: what is no prediction is told by file and line."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.judges.cells import read_rows
from coinkit.types import Prediction

GOOD = {'id': 1, 'prediction': 'a\u2028\ud800', 'references': ['a'], 'context': {'size': [1, 2]}, 'route': 'x'}


def test_lines_as_they_are_written(tmp_path):
    path = tmp_path / 'p.jsonl'
    path.write_text(f'{json.dumps(GOOD)}\n\n{json.dumps({"id": "2", "prediction": "b"})}\n')
    assert read_rows(path) == {'1': Prediction('1', 'a\u2028\ud800', ('a',), {'size': [1, 2]}, 'x'),
                               '2': Prediction('2', 'b')}


@pytest.mark.parametrize('line', [
    '{"id": ', '[' * 100_000, '[]', '3', 'null', '{"id": 1}', '{"prediction": "x"}',
    *(json.dumps({**GOOD, **change}) for change in (
        {'prediction': None}, {'prediction': 5}, {'references': 'abc'}, {'references': None}, {'context': 'text'},
        {'context': None}))], ids=lambda line: line[:40])
def test_what_is_no_prediction_is_named_by_file_and_line(tmp_path, line):
    path = tmp_path / 'p.jsonl'
    path.write_text(f'{json.dumps(GOOD)}\n{line}\n')
    with pytest.raises(DataError, match=r'p.jsonl: line 2: not a prediction'):
        read_rows(path)


def test_an_id_is_there_once(tmp_path):
    path = tmp_path / 'p.jsonl'
    path.write_text(f'{json.dumps(GOOD)}\n{json.dumps({**GOOD, "id": "1"})}\n')
    with pytest.raises(DataError, match="line 2: the id '1' is there twice"):
        read_rows(path)
