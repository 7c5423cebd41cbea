"""Reading, matching and scoring files: the denominator is the annotations', and bad lines are named."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.metrics.imagenet import ImageNetCoin
from coinkit.metrics.run import align, read_annotations, read_predictions, score_files
from coinkit.metrics.scienceqa import ScienceQACoin
from coinkit.metrics.vqa import VQAExactUpper
from coinkit.types import Prediction


@pytest.fixture
def write(tmp_path):
    def write(name: str, *records) -> object:
        path = tmp_path / name
        path.write_text('\n'.join(record if isinstance(record, str) else json.dumps(record) for record in records))
        return path
    return write


def test_annotations_give_the_denominator_and_ids_are_strings(write):
    predictions = write('p.jsonl', {'id': 2, 'prediction': 'dog'}, {'id': '1', 'prediction': 'cat'})
    gold = write('a.jsonl', *[{'question_id': i, 'answer': 'cat'} for i in (1, 2, 3, 4)])
    score, ids = score_files(VQAExactUpper(), predictions, gold)
    assert (score.value, ids, score.counts['missing']) == (25.0, ['1', '2', '3', '4'], 2)


def test_predictions_stand_alone(write):
    score, ids = score_files(VQAExactUpper(), write('p', {'id': 1, 'prediction': 'a', 'references': 'a'}))
    assert (score.value, ids) == (100.0, ['1'])


def test_a_prediction_nobody_asked_for_is_an_error(write):
    with pytest.raises(DataError, match="1 predictions have no annotation: '9'"):
        align([Prediction('9', 'x')], [Prediction('1', None, ('x',))])


def test_duplicates_are_errors_in_either_file():
    one, gold = Prediction('1', 'x'), Prediction('1', None, ('x',))
    for answers, golds in (([one, one], [gold]), ([one], [gold, gold])):
        with pytest.raises(DataError, match='duplicate'):
            align(answers, golds)


def test_scienceqa_problems_file(write):
    problems = {'7': {'answer': 1, 'choices': ['x', 'y']}, '8': {'answer': 0, 'choices': ['x']}}
    gold = write('problems.json', json.dumps(problems))
    score, _ = score_files(ScienceQACoin(), write('p', {'id': '7', 'prediction': 'B'}), gold)
    assert score.value == 50.0


def test_imagenet_upstream_pairs_rows_by_position(write):
    predictions = write('p', {'id': 'b', 'prediction': 'cat'}, {'id': 'a', 'prediction': 'dog'})
    gold = write('a.json', json.dumps([{'id': 'a', 'answer': 'cat'}, {'id': 'b', 'answer': 'dog'}]))
    assert score_files(ImageNetCoin(), predictions, gold)[0].value == 0.0
    assert score_files(ImageNetCoin(imagenet_align='upstream'), predictions, gold)[0].value == 100.0


@pytest.mark.parametrize('line, message', [
    ('{"id": 1', r'line 2: not JSON'), ('[1]', 'line 2: not a prediction'), ('{"id": 1}', 'line 2: not a prediction'),
    ('{"id": 1, "prediction": 3}', 'line 2: prediction is 3'),
    ('{"id": 1, "prediction": "x", "references": [3]}', 'line 2: references are')])
def test_a_bad_line_is_named(write, line, message):
    with pytest.raises(DataError, match=message):
        read_predictions(write('p.jsonl', {'id': 0, 'prediction': 'x'}, line))


def test_bad_files(write, tmp_path):
    with pytest.raises(DataError, match='cannot be read'):
        read_predictions(tmp_path / 'nothing.jsonl')
    with pytest.raises(DataError, match='no predictions'):
        score_files(VQAExactUpper(), write('empty', ''))
    with pytest.raises(DataError, match='record 1: not an annotation'):
        read_annotations(write('a.json', '[{"answer": "x"}]'))
    with pytest.raises(DataError, match='not annotations'):
        read_annotations(write('b.json', '3'))
