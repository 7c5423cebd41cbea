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
    with pytest.raises(DataError, match='no predictions'):
        score_files(VQAExactUpper(), write('empty', '\n \n'), write('a', {'id': 1, 'answer': 'x'}))
    with pytest.raises(DataError, match='record 1: not an annotation'):
        read_annotations(write('a.json', '[{"answer": "x"}]'))
    with pytest.raises(DataError, match='not annotations'):
        read_annotations(write('b.json', '3'))


@pytest.mark.parametrize('raw, message', [
    (b'\n{"id": 1, "prediction": "caf\xe9"}\n', r'p.jsonl: line 3: not UTF-8 text \(byte \d+ is 0xe9\)'),
    (b'{"id": 1, "prediction": "a\0b"}\n', 'p.jsonl: line 2: a NUL byte'), (b'\0' * 512, 'p.jsonl: line 2: a NUL byte'),
    ('{"id": 1}'.encode('utf-16'), 'p.jsonl: line 2: a NUL byte'), (b'[' * 100_000, 'line 2: not JSON.*brackets'),
    (b'{"id": ' + b'9' * 5000 + b'}', 'line 2: not JSON'), (b'{"id": null, "prediction": ""}', 'line 2: the id is None'),
    (b'{"id": true, "prediction": ""}', 'line 2: the id is True'),
    (b'{"id": 1, "prediction": "", "context": []}', 'context is'),
    (b'{"id": 1, "prediction": "", "route": 3}', 'line 2: route is 3')])
def test_damaged_files_are_refused_by_file_and_line(tmp_path, raw, message):
    path = tmp_path / 'p.jsonl'
    path.write_bytes(b'{"id": 0, "prediction": "x"}\n' + raw)
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def test_an_escaped_nul_and_other_odd_text_is_text(write):
    (item,) = read_predictions(write('p.jsonl', {'id': 1, 'prediction': 'a\0\u2028\ud800'}))
    assert item.prediction == 'a\0\u2028\ud800'


def test_second_answers_and_strangers_are_named_by_file_and_line(write):
    gold = write('a.jsonl', {'id': 1, 'answer': 'x'}, {'id': 2, 'answer': 'x'})
    twice = write('p.jsonl', {'id': 1, 'prediction': 'x'}, '', {'id': '1', 'prediction': 'y'})
    with pytest.raises(DataError, match=r"p.jsonl: line 3: duplicate id '1'; it is in .*p.jsonl: line 1 already"):
        score_files(VQAExactUpper(), twice, gold)
    with pytest.raises(DataError, match=r'p.jsonl: line 3: duplicate'):
        score_files(VQAExactUpper(), twice)
    with pytest.raises(DataError, match=r"p.jsonl: line 2: id '9' is not in .*a.jsonl; 2 predictions have no"):
        score_files(VQAExactUpper(), write('p.jsonl', *[{'id': i, 'prediction': 'x'} for i in (1, 9, 8)]), gold)
    with pytest.raises(DataError, match=r"a.jsonl: line 2: duplicate id '1'"):
        score_files(VQAExactUpper(), write('p.jsonl', {'id': 1, 'prediction': 'x'}),
                    write('a.jsonl', {'id': 1, 'answer': 'x'}, {'id': 1, 'answer': 'x'}))


def test_upstream_divides_by_rows_and_so_allows_a_second_answer(write):
    twice = write('p.jsonl', *[{'id': 1, 'prediction': text, 'references': ['x']} for text in 'xy'])
    assert score_files(VQAExactUpper(mode='upstream'), twice)[0].value == 50.0


@pytest.mark.parametrize('blob', [
    {'data': [{'question_id': 7, 'answers': ['x'] * 10, 'image_id': 'i'}]},
    {'annotations': [{'question_id': 7, 'answers': [{'answer': 'x', 'answer_id': i} for i in range(10)]}]},
    {'7': {'answers': ['x'] * 10}}, [{'id': '7', 'references': ['x'] * 10}]])
def test_official_files_are_annotations(write, blob):
    (item,) = read_annotations(write('a.json', json.dumps(blob)))
    assert (item.id, item.references, item.prediction) == ('7', ('x',) * 10, None)


def test_captions_in_coco_form(write):
    captions = [{'id': i, 'image_id': image, 'caption': text}
                for i, (image, text) in enumerate([(1, 'a'), (2, 'b'), (1, 'c')])]
    items = read_annotations(write('a.json', json.dumps({'images': [{'id': 1}, {'id': 2}], 'annotations': captions})))
    assert [(item.id, item.references) for item in items] == [('1', ('a', 'c')), ('2', ('b',))]


def test_what_else_a_record_has_is_context(write):
    row = {'question_id': 7, 'text': 'Which states?', 'image': 'MapQA_1.png', 'answer': 3, 'isBalanced': False,
           'context': {'a': 1}}
    (item,) = read_annotations(write('a.json', json.dumps([row])))
    assert item.references == ('3',)
    assert item.context == {'text': 'Which states?', 'image': 'MapQA_1.png', 'prompt': 'Which states?', 'is_balanced': False,
                            'a': 1}


def test_a_key_that_is_there_twice_would_drop_an_answer_or_an_item(write):
    lines = write('p.jsonl', '{"id": 1, "prediction": "a", "prediction": "b"}\n')
    with pytest.raises(DataError, match="p.jsonl: line 1: .*the key 'prediction' is there twice"):
        read_predictions(lines)
    gold = write('gold.json', '{"7": {"answer": "a"},\n "8": {"answer": "a"},\n "7": {"answer": "b"}}')
    with pytest.raises(DataError, match="gold.json: the key '7' is there twice"):
        read_annotations(gold)
