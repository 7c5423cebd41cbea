"""The split of failures: vectors worked out by hand, exact shares of a drop, and the lenient forms of the scorers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.judges.failures import KINDS, drop, kind_by_judge, kind_by_lenience, split
from coinkit.judges.lenient import contains_gold, is_grounding, lenient_values
from coinkit.judges.parse import UNREADABLE, Reading
from coinkit.types import Prediction

# truth value, judge's answer read (None = not judged) -> what the failure is; None = not wrong
VECTORS = [
    (1.0, Reading(10.0), None), (1.0, Reading(0.0), None),  # the truth scorer alone says what is wrong
    (0.0, Reading(8.0), 'format'), (0.0, Reading(10.0), 'format'), (0.0, Reading(7.999), 'knowledge'),
    (0.0, Reading(0.0), 'knowledge'), (0.0, None, 'unjudged'), (0.0, UNREADABLE, 'unjudged'),
    (0.6, Reading(9.0), 'format'), (0.3, Reading(2.0), 'knowledge')]  # soft scores: wrong by what they lack


@pytest.mark.parametrize('value, reading, kind', VECTORS)
def test_vectors_of_single_items(value, reading, kind):
    found = split([value], [kind_by_judge(reading, 8.0)], 1)
    assert {name: count for name, count in found.counts.items() if count} == ({kind: 1} if kind else {})
    assert found.points == {name: pytest.approx(100 * (1 - value) if name == kind else 0.0) for name in KINDS}


def test_vector_of_a_cell():
    """Ten items: four right, one half right, three that the judge likes, one it does not, one unread; one is not counted."""
    values = [1, 1, 1, 1, .5, 0, 0, 0, 0, 0, None]
    readings = [Reading(1.0)] * 4 + [Reading(9), Reading(8), Reading(9), Reading(10), Reading(3), UNREADABLE, Reading(10)]
    found = split(values, [kind_by_judge(each, 8.0) for each in readings], 10)
    assert found.counts == {'format': 4, 'knowledge': 1, 'unjudged': 1} and found.wrong == 6
    assert found.points == {'format': 35.0, 'knowledge': 10.0, 'unjudged': 10.0}
    assert found.to_json()['items'] == 10 and found.to_json()['format'] == 4


def test_vector_of_a_drop():
    """90 right after learning (all 10 lost in knowledge); 30 later: 50 in format, 20 in knowledge."""
    learned = split([1.0] * 9 + [0.0], ['knowledge'] * 10, 10)
    later = split([1.0] * 3 + [0.0] * 7, ['knowledge'] * 3 + ['format'] * 5 + ['knowledge'] * 2, 10)
    found = drop(learned, later, 90.0, 30.0)
    assert (found['from'], found['to'], found['drop']) == (90.0, 30.0, 60.0)
    assert found['points'] == {'format': pytest.approx(50), 'knowledge': pytest.approx(10), 'unjudged': 0.0}
    assert found['shares'] == {'format': pytest.approx(5 / 6), 'knowledge': pytest.approx(1 / 6), 'unjudged': 0.0}


def test_nothing_lost_has_no_shares():
    cell = split([1.0, 0.0], ['format'] * 2, 2)
    assert drop(cell, cell, 50.0, 50.0)['shares'] is None
    better = split([1.0, 1.0], ['format'] * 2, 2)
    assert drop(cell, better, 50.0, 100.0)['shares'] is None
    assert split([], [], 0).points == dict.fromkeys(KINDS, 0.0)


ITEMS = st.lists(st.tuples(st.sampled_from([0.0, .3, .6, .9, 1.0]), st.sampled_from(KINDS)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(ITEMS, ITEMS)
def test_points_add_up_to_what_is_lost_and_shares_to_one(first, second):
    cells = [split([value for value, _ in items], [kind for _, kind in items], len(items)) for items in (first, second)]
    scores = [100 * sum(value for value, _ in items) / len(items) for items in (first, second)]
    for cell, score in zip(cells, scores, strict=True):
        assert sum(cell.points.values()) == pytest.approx(100 - score)
    found = drop(*cells, *scores)
    assert sum(found['points'].values()) == pytest.approx(found['drop'], abs=1e-9)
    if found['shares']:
        assert sum(found['shares'].values()) == pytest.approx(1)


def test_lenient_right_is_format():
    assert [kind_by_lenience(right) for right in (True, False, None)] == ['format', 'knowledge', 'unjudged']


@pytest.mark.parametrize('answer, references, context, right', [
    ('It is a cat.', ('cat',), {}, True), ('CATS', ('cat',), {}, False), ('a Cat, perhaps', ('cat',), {}, True),
    ('new-york', ('New York',), {}, True), ('13 cars', ('3',), {}, False), ('three', ('3',), {}, False),
    ('dog', ('cat', 'dog'), {}, True), ('anything', ('',), {}, False), ('anything', ('?!',), {}, False),
    ('The answer is B', ('B',), {}, True), ('it is iron', ('B',), {'gold_index': 1, 'choices': ['wood', 'iron']}, True),
    ('it is wood', ('B',), {'gold_index': 1, 'choices': ['wood', 'iron']}, False), ('', ('cat',), {}, False)])
def test_containment(answer, references, context, right):
    assert contains_gold(Prediction('1', answer, references, context)) is right


def test_boxes_are_read_as_the_first_four_numbers():
    rows = [Prediction('1', 'The box is at 0.1, 0.2, 0.5, 0.8, I think', ('[0.1,0.2,0.5,0.8]',), {}),
            Prediction('2', 'at 0.1 and 0.2', ('[0.1,0.2,0.5,0.8]',), {}),
            Prediction('3', '0.6,0.6,0.9,0.9', ('[0.1,0.2,0.5,0.8]',), {}), Prediction('4', None, ('[0,0,1,1]',), {})]
    metric = {'type': 'grounding_coin_upstream', 'mode': 'upstream'}
    assert is_grounding(metric['type']) and not is_grounding('gqa')
    assert lenient_values(metric, rows) == [True, False, False, None]
    rows = [Prediction('1', 'a cat', ('cat',)), Prediction('2', None, ('cat',))]
    assert lenient_values({'type': 'vqa_exact_upper'}, rows) == [True, None]
