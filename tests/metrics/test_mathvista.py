"""MathVista: options by letter and by text, numbers, texts and lists, and what a judge extracted."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.metrics.mathvista import REFUSALS, MathVistaCheck, find_option, read_list
from coinkit.metrics.run import score_files
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


def official(number: int, answer: str, choices: list[str] | None, kind: str) -> dict:
    """A record as in annot_testmini.json: no letter of the right option, numbers as texts."""
    return {'question': '?', 'image': f'images/{number}.jpg', 'choices': choices, 'unit': None, 'precision': None,
            'answer': answer, 'question_type': 'multi_choice' if choices else 'free_form', 'answer_type': kind,
            'pid': str(number), 'metadata': {'split': 'testmini'}, 'query': '?'}


OFFICIAL = {'1': official(1, '1.2', None, 'float'), '2': official(2, '8/11', ['3/11', '8/11'], 'text'),
            '3': official(3, 'No', ['Yes', 'No'], 'text')}


@pytest.mark.parametrize('prefix', ['testmini_', ''])
def test_the_official_file_scores_predictions_of_either_id(tmp_path, prefix):
    (tmp_path / 'annot_testmini.json').write_text(json.dumps(OFFICIAL))
    lines = [{'id': f'{prefix}{number}', 'prediction': text} for number, text in ((2, '(B)'), (1, '1.2'))]
    (tmp_path / 'p.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    for mode in ('default', 'upstream'):
        score, ids = score_files(MathVistaCheck(mode=mode, denominator='default'), tmp_path / 'p.jsonl',
                                 tmp_path / 'annot_testmini.json')
        assert score.per_sample == (1.0, 1.0, 0.0) and score.counts['missing'] == 1
        assert ids == [f'{prefix}{number}' for number in '123']
    (tmp_path / 'p.jsonl').write_text(json.dumps({'id': f'{prefix}1001', 'prediction': 'A'}))
    with pytest.raises(DataError, match=f"id '{prefix}1001' is not in"):
        score_files(MathVistaCheck(), tmp_path / 'p.jsonl', tmp_path / 'annot_testmini.json')


def test_an_option_is_known_by_letter_or_by_its_text():
    plain = {key: each for key, each in CHOICE.items() if key != 'answer_option'}
    assert value('B', '8/11', plain) == 1.0 and value('A', '8/11', plain) == 0.0
    assert value('A', '8/11', {**CHOICE, 'answer_option': 'A'}) == 1.0, 'a letter that is given counts'
    with pytest.raises(DataError, match=r"'1': context has answer_option=None.*one of the choices .given: \['9/11'\]"):
        value('B', '9/11', plain)


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
