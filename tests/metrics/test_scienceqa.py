"""ScienceQA letters: the published reading and the mended one."""

from __future__ import annotations

import pytest

from coinkit.errors import DataError
from coinkit.metrics.scienceqa import ScienceQACoin, ScienceQALlava
from coinkit.types import Prediction


def letters(text: str, num_choices: int = 4) -> tuple[str | None, str | None]:
    return tuple(ScienceQACoin(mode=mode).letter(text, num_choices) for mode in ('upstream', 'default'))


@pytest.mark.parametrize('text, upstream, default', [
    ('B', 'B', 'B'), ('B. dog', 'B', 'B'), ('I think B', 'I', 'B'), ('It is a B', 'A', 'B'), ('a', 'A', 'A'),
    ('7 or C', '7', 'C'), ('_ C', '_', 'C'), ('dog', None, None), ('', None, None), ('x', 'X', None),
    ('é B', 'É', 'B'), ('E', 'E', 'E'), ('(b)', 'B', 'B'), ('E or D', 'E', 'D')])
def test_letter(text, upstream, default):
    assert letters(text) == (upstream, default)


def test_a_letter_beyond_the_choices_is_wrong():
    item = Prediction('1', 'D', ('D',), {'num_choices': 3})
    assert ScienceQACoin(mode='upstream').score([item]).value == 0.0
    assert ScienceQACoin().score([item]).value == 0.0


def test_gold_from_index_or_from_reference():
    by_index = Prediction('1', 'B', (), {'choices': ['x', 'y'], 'gold_index': 1})
    by_letter = Prediction('2', 'B', ('B',), {'num_choices': 2})
    assert ScienceQACoin().score([by_index, by_letter]).value == 100.0


@pytest.mark.parametrize('item', [Prediction('q7', 'B', ('B',)), Prediction('q7', 'B', ('dog',), {'num_choices': 2})])
def test_a_problem_without_gold_or_choices_is_an_error_that_names_it(item):
    with pytest.raises(DataError, match='q7'):
        ScienceQACoin().score([item])


def test_missing_answers_count_in_both_modes():
    rows = [Prediction('1', 'A', ('A',), {'num_choices': 2}), Prediction('2', None, ('A',), {'num_choices': 2})]
    for mode in ('default', 'upstream'):
        score = ScienceQACoin(mode=mode).score(rows)
        assert (score.value, score.counts['items'], score.counts['missing']) == (50.0, 2, 1)


@pytest.mark.parametrize('text, upstream, default', [
    ('The answer is B.', 'B', 'B'), ('The answer is B', None, 'B'), ('The answer is B. The answer is B.', None, 'B'),
    ('The answer is B. The answer is C.', None, None), ('the answer is B.', None, None), ('The answer is B\n', None, 'B'),
    ('so B', None, None), ('C', 'C', 'C'), ('D. dog', 'D', 'D'), ('The answer is Z!', 'Z', 'Z')])
def test_letter_as_llava_reads_it(text, upstream, default):
    assert tuple(ScienceQALlava(mode=mode).letter(text, 4) for mode in ('upstream', 'default')) == (upstream, default)


def test_a_letter_that_is_no_option_is_wrong():
    assert ScienceQALlava().score([Prediction('1', 'The answer is Z!', ('A',), {'choices': ['x', 'y']})]).value == 0.0


@pytest.mark.parametrize('context', [{'choices': 'ab'}, {'num_choices': 9}, {'num_choices': 2, 'gold_index': -1},
                                     {'num_choices': True, 'gold_index': 0}, {'num_choices': 2, 'gold_index': True}])
def test_odd_contexts_are_refused(context):
    with pytest.raises(DataError, match='q7'):
        ScienceQACoin().score([Prediction('q7', 'B', ('dog',), context)])
