"""Official annotation files beside the rows: what each kind brings its scorer, and every way in which ids can differ."""

from __future__ import annotations

import json

import pytest

from coinkit.datasets.instructions import InstructionJson
from coinkit.errors import ConfigError, DataError
from coinkit.registry import METRICS
from coinkit.types import Prediction

PROBLEMS = {'3': {'choices': ['a', 'b', 'c'], 'answer': 1}, '5': {'choices': ['x', 'y'], 'answer': 0},
            '8': {'choices': ['x', 'y'], 'answer': 0}}
SCIENCE = {'kind': 'scienceqa', 'path': 'problems.json', 'splits': 'pid_splits.json'}
TEXTVQA = {'data': [{'question_id': 34602, 'image_id': 'ab', 'answers': ['nokia'] * 9 + ['a phone']},
                    {'question_id': 34603, 'image_id': 'ab', 'answers': ['exit'] * 10}]}
GQA = {'201': {'question': 'q', 'answer': 'yes', 'isBalanced': True}, '202': {'answer': 'left', 'isBalanced': True},
       '203': {'answer': 'left', 'isBalanced': False}}
CAPTIONS = {'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}],
            'annotations': [{'id': 1, 'image_id': 1, 'caption': 'a mug'}, {'id': 2, 'image_id': 2, 'caption': 'two dogs'},
                            {'id': 3, 'image_id': 1, 'caption': 'a red mug'}]}
MATHVISTA = {'1': {'question_type': 'free_form', 'answer_type': 'integer', 'answer': '14', 'choices': None},
             '2': {'question_type': 'multi_choice', 'answer_type': 'text', 'answer': 'blue', 'choices': ['red', 'blue']}}


@pytest.fixture
def write(tmp_path):
    def _write(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        return name
    return _write


def ask(write, ids, **more):
    return write('rows.json', [{'question_id': each, 'text': 'q?', **more} for each in ids])


def problems_of(tmp_path, annotations, **more):
    return InstructionJson.preflight(path='rows.json', root=str(tmp_path), annotations=annotations, on_bad_image='skip',
                                     **more)


def opened(tmp_path, annotations):
    return InstructionJson('rows.json', root=str(tmp_path), annotations=annotations, on_bad_image='skip')


def score(name, samples, answers):
    rows = [Prediction(sample.id, answer, sample.references, sample.meta)
            for sample, answer in zip(samples, answers, strict=True)]
    return METRICS.build({'type': name}).score(rows).value


def test_scienceqa_takes_options_and_gold_from_the_problems_of_the_split(tmp_path, write):
    write('problems.json', PROBLEMS), write('pid_splits.json', {'test': ['3', '5'], 'val': ['8']})
    ask(write, ['3', '5'])
    assert problems_of(tmp_path, SCIENCE, needs=['num_choices']) == []
    dataset = opened(tmp_path, SCIENCE)
    assert [(each.references, each.meta['num_choices'], each.meta['gold_index']) for each in dataset] == [
        (('B',), 3, 1), (('A',), 2, 0)]
    assert score('scienceqa_coin', dataset, ['B', 'B']) == 50


def test_textvqa_gets_ten_references(tmp_path, write):
    write('val.json', TEXTVQA)
    ask(write, [34602, '34603'], answer='nokia')
    given = dict(kind='textvqa', path='val.json')
    assert problems_of(tmp_path, given, num_references=10) == []
    assert score('textvqa_m4c', opened(tmp_path, given), ['nokia', 'exit']) == 100
    [problem] = problems_of(tmp_path, dict(given, path='none.json', optional=True), num_references=10)
    assert '2 of 2 rows have no 10 gold answers' in problem.message and 'none.json' in problem.cure


def test_gqa_wants_every_balanced_question(tmp_path, write):
    write('questions.json', GQA)
    ask(write, [201, 202])
    given = dict(kind='gqa', path='questions.json')
    assert problems_of(tmp_path, given) == []
    ask(write, [201, 202, 203])
    assert score('gqa', opened(tmp_path, given), ['Yes.', 'right', 'left']) == 50, 'one is not balanced'
    ask(write, [201])
    [problem] = problems_of(tmp_path, given)
    assert '1 of 3 annotated questions have no row: 202' in problem.message
    assert problems_of(tmp_path, dict(given, subset=True)) == []
    with pytest.raises(DataError, match='have no row: 202'):
        opened(tmp_path, given)


@pytest.mark.parametrize('given', [dict(kind='gqa', path='questions.json'), dict(kind='textvqa', path='val.json')])
def test_ids_that_are_not_annotated_are_named(tmp_path, write, given):
    write('questions.json', GQA), write('val.json', TEXTVQA)
    ask(write, [1, 2, 3, 4])
    first = problems_of(tmp_path, given)[0]
    assert '4 of 4 rows have no annotation in' in first.message and ': 1, 2, 3, ...' in first.message
    assert 'Its ids are such as' in first.cure


def test_captions_are_joined_by_place_when_pictures_or_ids_agree(tmp_path, write):
    write('coco.json', CAPTIONS)
    given = dict(kind='coco_captions', path='coco.json')
    rows = [{'question_id': f'q{i}', 'image': f'F/{name}.jpg', 'text': 'describe'} for i, name in enumerate('ab')]
    write('rows.json', rows)
    assert problems_of(tmp_path, given) == []
    assert [each.references for each in opened(tmp_path, given)] == [('a mug', 'a red mug'), ('two dogs',)]
    write('rows.json', rows[::-1])
    [problem] = problems_of(tmp_path, given)
    assert '2 rows are not the images' in problem.message and 'row 1 (id q1, F/b.jpg)' in problem.message
    write('rows.json', rows[:1])
    assert '1 rows and 2 images' in problems_of(tmp_path, given)[0].message


def test_captions_without_pictures_to_compare(tmp_path, write):
    write('coco.json', {**CAPTIONS, 'images': [{'id': 1}, {'id': 2}]})
    given = dict(kind='coco_captions', path='coco.json')
    ask(write, [1, 2])
    assert problems_of(tmp_path, given) == [], 'the ids say it'
    ask(write, [2, 1])
    assert 'row 1 (id 2, no picture)' in problems_of(tmp_path, given)[0].message
    ask(write, ['x', 'y'])
    assert 'nothing tells whether both files are in one order' in problems_of(tmp_path, given)[0].message
    assert problems_of(tmp_path, dict(given, join='position')) == []


def test_mathvista_brings_what_its_scorer_reads_and_compares_answers(tmp_path, write):
    write('mini.json', MATHVISTA)
    write('rows.json', [{'question_id': 'testmini_1', 'text': 'q', 'answer': '14'},
                        {'question_id': 'testmini_2', 'text': 'q', 'answer': 'blue'}])
    given = dict(kind='mathvista', path='mini.json')
    assert problems_of(tmp_path, given, needs=['question_type', 'answer_type']) == []
    assert score('mathvista_check', opened(tmp_path, given), ['14', '(B)']) == 100
    write('rows.json', [{'question_id': 'testmini_1', 'text': 'q', 'answer': 'blue'},
                        {'question_id': 'testmini_2', 'text': 'q', 'answer': '14'}])
    assert '2 of 2 rows have another answer' in problems_of(tmp_path, given)[0].message


def test_files_that_are_missing_or_of_another_kind(tmp_path, write):
    ask(write, [1], answer='a')
    [problem] = problems_of(tmp_path, dict(kind='gqa', path=['a.json', 'b.json']))
    assert 'a.json' in problem.where and 'b.json' in problem.message
    assert problems_of(tmp_path, dict(kind='gqa', path='a.json', optional=True)) == []
    ask(write, [1])
    [problem] = problems_of(tmp_path, dict(kind='gqa', path='a.json', optional=True))
    assert 'has no answer' in problem.message
    write('a.json', {'data': [1]})
    [problem] = problems_of(tmp_path, dict(kind='gqa', path='a.json'))
    assert "is not what annotations of kind 'gqa' are read from" in problem.message


def test_wrong_arguments(tmp_path, write):
    ask(write, [1])
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, dict(kind='sciencqa', path='x', spilts='y'))
    assert "Did you mean 'scienceqa'?" in str(caught.value) and "Did you mean 'splits'?" in str(caught.value)
    assert 'pid_splits.json' in str(problems_of(tmp_path, dict(kind='scienceqa', path='x'))[0])
    assert 'allowed: dict(kind=..., path=...)' in str(problems_of(tmp_path, dict(kind='gqa'))[0])


def test_another_annotation_is_another_data_set(tmp_path, write):
    write('questions.json', GQA)
    ask(write, [201, 202], answer='yes')
    given = dict(kind='gqa', path='questions.json')
    before = opened(tmp_path, given).fingerprint
    assert before != InstructionJson('rows.json', root=str(tmp_path)).fingerprint
    write('questions.json', {**GQA, '201': {'answer': 'no'}})
    assert opened(tmp_path, given).fingerprint != before
