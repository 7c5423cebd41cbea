"""MathVista: options by letter and by text, numbers, texts and lists, and what a judge extracted."""

from __future__ import annotations

import pytest

from coinkit.errors import DataError
from coinkit.metrics.mathvista import REFUSALS, MathVistaCheck, find_option, read_list
from coinkit.types import Prediction

CHOICE = {'question_type': 'multi_choice', 'answer_type': 'text', 'answer_option': 'B', 'choices': ['3/11', '8/11', 'Yes']}
CHOICES = dict(zip('ABC', CHOICE['choices'], strict=True))


def free(kind: str) -> dict:
    return {'question_type': 'free_form', 'answer_type': kind, 'answer_option': '', 'choices': []}


def value(text: str, gold: str, context: dict, mode: str = 'default') -> float:
    return MathVistaCheck(mode=mode).score([Prediction('1', text, (gold,), context)]).per_sample[0]


@pytest.mark.parametrize('text, letter', [
    ('B', 'B'), ('(B) 8/11', 'B'), ('the answer is B.', 'B'), ('b', None), ('A or B', None), ('it is 8/11', 'B'),
    ('YES', 'C'), ('3/11 or 8/11', None), ('Z', 'Z'), ('Z, B', 'B'), (f'Well. {REFUSALS[1]} B', 'Z'), ('', None),
    ('A or B: 8/11', 'B')])
def test_the_option_that_an_answer_names(text, letter):
    assert find_option(text, CHOICES) == letter


def test_choices_written_as_a_list_in_text():
    assert value('8/11', '8/11', {**CHOICE, 'choices': "['3/11', '8/11']"}) == 1.0


@pytest.mark.parametrize('kind, text, gold, default, upstream', [
    ('integer', ' 14 ', '14', 1.0, 1.0), ('integer', '14.0', '14', 0.0, 0.0), ('integer', '14', '14.0', 0.0, 0.0),
    ('float', '1e0', '1', 1.0, 1.0), ('float', '0.61', '0.6', 0.0, 0.0), ('float', 'nan', 'nan', 0.0, 0.0),
    ('text', ' Red ', 'red', 1.0, 0.0), ('text', 'None', 'None', 1.0, 0.0),
    ('list', '[1, 2.0]', '[1.0, 2]', 1.0, 0.0), ('list', '(1, 2)', '[1, 2]', 1.0, 0.0),
    ('list', '[2, 1]', '[1, 2]', 0.0, 0.0),
    ('list', '1, 2', '[1, 2]', 1.0, 0.0), ('list', 'one', '[1]', 0.0, 0.0)])
def test_free_form(kind, text, gold, default, upstream):
    assert value(text, gold, free(kind)) == default
    assert value(text, gold, free(kind), 'upstream') == upstream


def test_zero_goes_to_the_judge_as_published():
    item = Prediction('1', '0', ('0',), free('integer'))
    assert MathVistaCheck().first_pass(item) == 0 and MathVistaCheck(mode='upstream').first_pass(item) is None
    score = MathVistaCheck(mode='upstream').score([item])
    assert score.value == 100.0 and score.details['needs_judge'] == 1
    assert MathVistaCheck().score([item]).details['needs_judge'] == 0


def test_what_a_judge_extracted_counts_only_where_the_first_pass_found_nothing():
    def row(text: str, extraction: str) -> Prediction:
        return Prediction(text, text, ('8/11',), {**CHOICE, 'extraction': extraction})
    score = MathVistaCheck().score([row('eight elevenths', 'B'), row('A', 'B'), row('hm', '?')])
    assert score.per_sample == (1.0, 0.0, 0.0)
    assert (score.details['needs_judge'], score.details['extracted'], score.counts['unparsed']) == (2, 2, 1)


@pytest.mark.parametrize('text', ['[' * 5000, '"\\d"', '[1', '{[]: 1}', 'x' * 20_000, '[1]\0', '1', '-' * 9000 + '1'])
def test_odd_lists_are_no_lists(text):
    assert read_list(text) is None


@pytest.mark.parametrize('context, message', [
    ({}, 'question_type=None'), ({**CHOICE, 'choices': []}, r'choices=\[\]'), ({**CHOICE, 'choices': 'A'}, "choices='A'"),
    ({**CHOICE, 'answer_option': 2}, 'answer_option=2'), (free('number'), "answer_type='number'")])
def test_a_context_that_does_not_do(context, message):
    with pytest.raises(DataError, match=f"'1': context has {message}"):
        value('A', 'A', context)
