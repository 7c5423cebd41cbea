"""Gold answers that differ, for a scorer that compares with one: told before the run, by row files and by annotations."""

from __future__ import annotations

import json

import pytest

from coinkit.config.benchmarks import load_benchmark
from coinkit.datasets.folder import Folder
from coinkit.datasets.instructions import InstructionJson
from coinkit.engine.datasets import StreamDatasets

SAME = {'question_id': 'q0', 'text': 'What?', 'answers': ['yes', 'yes']}
DIFFERING = {'question_id': 'q1', 'text': 'Which?', 'answers': ['red', 'blue', 'red']}
AGREED = {**DIFFERING, 'question_id': 'q2', 'multiple_choice_answer': 'red'}


def told(tmp_path, rows, metric, **more) -> str:
    (tmp_path / 'test.json').write_text(json.dumps(rows))
    problems = InstructionJson.preflight(path='test.json', root=str(tmp_path), scored_by=metric, **more)
    return '\n'.join(map(str, problems))


def test_a_scorer_of_one_answer_refuses_them_and_names_the_first(tmp_path):
    said = told(tmp_path, [SAME, AGREED, DIFFERING, {**DIFFERING, 'question_id': 'q3'}], {'type': 'vqa_exact_upper'})
    assert "test.json: record 2 (id 'q1'): " in said and "record 1" not in said
    assert "('red', 'blue', 'red'); vqa_exact_upper compares with one" in said and 'vqa_v2_official' in said


@pytest.mark.parametrize('metric', [
    None, {'type': 'vqa_v2_official'}, {'type': 'stvqa_anls'}, {'type': 'vqa_exact_upper', 'mode': 'upstream'},
    {'type': 'ucit_caption'}])
def test_scorers_that_take_several_or_the_first_do_not(tmp_path, metric):
    assert told(tmp_path, [SAME, DIFFERING], metric) == ''


def test_one_that_is_said_to_count_is_enough(tmp_path):
    assert told(tmp_path, [SAME, AGREED], {'type': 'vqa_exact_upper'}) == ''


def test_rows_that_are_not_scored_may_differ(tmp_path):
    assert told(tmp_path, [SAME, {**DIFFERING, 'is_balanced': False}], {'type': 'gqa'}) == ''
    assert 'compares with one' in told(tmp_path, [SAME, DIFFERING], {'type': 'gqa'})


def test_joined_answers_count_where_annotations_bring_them(tmp_path):
    gold = {'data': [{'question_id': f'q{number}', 'answers': ['red', 'blue'] * 5} for number in range(2)]}
    (tmp_path / 'gold.json').write_text(json.dumps(gold))
    rows = [SAME, {'question_id': 'q1', 'text': 'Which?'}]
    annotations = dict(kind='textvqa', path='gold.json')
    assert told(tmp_path, rows, {'type': 'textvqa_m4c'}, annotations=annotations) == ''
    said = told(tmp_path, rows, {'type': 'vqa_exact_upper'}, annotations=annotations)
    assert "record 0 (id 'q0'): " in said and 'compares with one' in said


def test_a_run_and_the_data_command_tell_the_scorer(tmp_path):
    train = {'id': 'a', 'conversations': [{'from': 'human', 'value': 'q?'}, {'from': 'gpt', 'value': 'a'}]}
    (tmp_path / 'birds').mkdir()
    (tmp_path / 'birds/train.json').write_text(json.dumps([train]))
    (tmp_path / 'birds/test.json').write_text(json.dumps([DIFFERING]))
    (tmp_path / 'my.py').write_text("benchmark = dict(name='my', tasks=[dict(folder='birds', metric=dict(type='gqa'))])\n"
                                    f'data = dict(root={str(tmp_path)!r})\n')
    config = load_benchmark(tmp_path / 'my.py')
    datasets = StreamDatasets([task.task() for task in config.benchmark.tasks], config.data)
    [problem] = datasets.preflight()
    assert 'gqa compares with one' in str(problem)
    assert Folder.preflight(path='birds', split='test', root=str(tmp_path)) == [], 'no scorer, no complaint'
