"""Gold that a scorer would refuse once all answers are there is told before the run, with file and row."""

from __future__ import annotations

import json
import time

import pytest

from coinkit.datasets.instructions import InstructionJson
from coinkit.datasets.refused_gold import BOX, LETTER, SHOWN, Refused, metric_of
from coinkit.errors import DataError
from coinkit.metrics.grounding import parse_coin, parse_minigpt, parse_minigpt_default, parse_numbers
from coinkit.types import Prediction

TWO, SIX = ['x', 'y'], list('abcdef')
CHOICE = {'question_type': 'multi_choice', 'answer_type': 'text', 'answer': 'y', 'choices': TWO, 'answer_option': 'B'}
GOLD = {'answer_bbox': '[0.10,0.25,0.55,0.80]', 'size': [640, 480]}
REFUSED = [
    ('scienceqa_coin', {'answer': 'dog', 'choices': TWO}, 'no gold option'),
    ('scienceqa_coin', {'answer': 1, 'choices': TWO}, 'no gold option'),
    ('scienceqa_coin', {'answer': '(B)', 'choices': TWO}, 'no gold option'),
    ('scienceqa_llava', {'answer': 'B', 'choices': SIX}, 'num_choices=6'),
    ('scienceqa_coin', {'answer': 'B', 'num_choices': '4'}, "num_choices='4'"),
    ('mathvista_check', {**CHOICE, 'question_type': 'multi-choice'}, "question_type='multi-choice'"),
    ('mathvista_check', {**CHOICE, 'answer_option': 2}, 'answer_option=2'),
    ('mathvista_check', {**CHOICE, 'answer': 'z', 'answer_option': None}, 'answer_option=None'),
    ('mathvista_check', {**CHOICE, 'question_type': 'free_form', 'answer_type': 'number'}, "answer_type='number'"),
    ('mllmcl_ocr', {'answer': 'a', 'answer_type': 5}, 'given: 5'),
    ('grounding_coin', {**GOLD, 'size': '640,480'}, "size='640,480'"),
    ('grounding_coin', {'answer': 'left'}, "gold box is 'left'"),
    ('textvqa_m4c', {'answers': ['a'] * 9}, '9 references'),
    ('mllmcl_sci', {'answer': 'a', 'prompt': 5}, 'prompt=5')]
TAKEN = [
    ('scienceqa_coin', {'answer': 'B', 'choices': TWO}), ('scienceqa_coin', {'answer': 'A', 'num_choices': 4}),
    ('mathvista_check', CHOICE),
    ('mathvista_check', {'question_type': 'free_form', 'answer_type': 'integer', 'answer': '3'}),
    ('mllmcl_ocr', {'answer': ['a', 'b'], 'answer_type': 'Regular'}), ('grounding_coin', GOLD),
    ('grounding_coin_upstream', GOLD), ('grounding_minigpt', {**GOLD, 'origin_answer_bbox': [0.1, 0.2, 0.3, 0.4]}),
    ('mllmcl_sci', {'answer': 'Ohio, Texas'}), ('mllmcl_app', {'answer': 'B'}), ('ucit_caption', {'answers': ['a', 'b']}),
    ('imagenet_coin', {'answer': 'tench'}), ('gqa', {'answer': 'no'}), ('stvqa_anls', {'answers': ['a', 'b']}),
    ('textvqa_m4c', {'answers': ['a', 'b'] * 5}), ('no_such_metric', {'answer': 'a'})]


def told(tmp_path, metric, rows) -> list[str]:
    rows = [{'question_id': f'q{number}', 'text': 'What?', **row} for number, row in enumerate(rows)]
    (tmp_path / 'test.json').write_text(json.dumps(rows))
    given = dict(path='test.json', root=str(tmp_path), scored_by={'type': metric})
    return [str(each) for each in InstructionJson.preflight(**given)]


@pytest.mark.parametrize(('metric', 'row', 'message'), REFUSED)
def test_what_the_scorer_refuses_is_told_with_file_and_row(tmp_path, metric, row, message):
    fine = next(row for name, row in TAKEN if name == metric) if metric in dict(TAKEN) else None
    rows = [row] if fine is None else [fine, row]
    [problem] = told(tmp_path, metric, rows)
    assert problem.startswith(f"{tmp_path / 'test.json'}: record {len(rows) - 1} (id 'q{len(rows) - 1}'): ")
    assert message in problem


@pytest.mark.parametrize(('metric', 'row'), TAKEN)
def test_what_it_takes_is_not(tmp_path, metric, row):
    assert told(tmp_path, metric, [row]) == []


def test_every_published_parser_reads_the_box():
    for parse in (parse_coin, parse_numbers, parse_minigpt, parse_minigpt_default):
        assert parse(BOX) == (0.1, 0.2, 0.5, 0.9)


def test_a_row_is_counted_once_and_gold_is_asked_for_in_every_way():
    asked = []

    class Metric:
        name = 'strict'

        def verdicts(self, items):
            asked.extend((item.id, item.prediction) for item in items)
            if any(item.prediction == BOX or item.references == ('no',) for item in items):
                raise DataError('no such gold')

    refused = Refused(Metric())
    refused.show(0, 'a', ['no'], GOLD)
    refused.show(1, 'b', ['yes'], {})
    refused.show(2, 'c', ['yes'], {'size': [1, 1]})
    first, second = refused.problems('file', 3)
    assert 'record 0' in first.where and 'record 2' in second.where
    assert {('a', LETTER), ('b', LETTER), ('c', LETTER), ('c', BOX)} <= set(asked)


def test_wrong_options_are_left_to_the_metric_itself():
    assert metric_of({'type': 'gqa', 'mode': 'nonsense'}) is None and metric_of(None) is None
    assert metric_of({'type': 'gqa'}).verdicts([Prediction('a', 'A', ('a',))])


def test_of_many_rows_the_first_are_named_and_all_are_counted(tmp_path):
    problems = told(tmp_path, 'scienceqa_coin', [{'answer': 'dog', 'choices': TWO}] * 30)
    assert len(problems) == SHOWN + 1 and '30 of 30 rows have gold that scienceqa_coin refuses' in problems[-1]


def test_many_rows_take_little_time(tmp_path):
    rows = [{'answers': [f'{number % 50} a'] * 10} for number in range(4_000)]
    told(tmp_path, 'textvqa_m4c', rows)  # the index is there then
    start = time.process_time()
    assert told(tmp_path, 'textvqa_m4c', rows) == []
    assert time.process_time() - start < 1.0, '100,000 rows take a few seconds'
