"""Boxes: the published parsers, the default ones, and the strict threshold."""

from __future__ import annotations

import pytest

from coinkit.errors import ConfigError, DataError
from coinkit.metrics.grounding import (
    GroundingCoin,
    GroundingMiniGPT,
    parse_minigpt,
    parse_minigpt_default,
    parse_numbers,
)
from coinkit.types import Prediction

GOLD = '[0.25, 0.30, 0.75, 0.80]'


@pytest.mark.parametrize('text, box', [
    ('the box is [0.25, .3, +0.75, 8e-1] ok 9', (0.25, 0.3, 0.75, 0.8)), ('-0.5 1 2 3', (-0.5, 1, 2, 3)),
    ('0.1 0.2 0.3', None), ('', None), ('[nan, 0.1, 0.2, 0.3, 0.4]', None), ('[0.1, 0.2, inf, 0.3]', None),
    ('1e999 0 0 0', None), ('banana information 1. 2. 3. 4.', (1, 2, 3, 4))])
def test_parse_numbers(text, box):
    assert parse_numbers(text) == box


@pytest.mark.parametrize('text, box', [
    ('[0.0, 0.25, 0.30, 0.75, 0.80]', (0.25, 0.3, 0.75, 0.8)), ('[1, .25, 0.30, 10.5, 2.]', None),
    ('10.5 0.05 1.0 00.20', (10.5, 0.05, 1.0, 0.2)), ('{<25><30><75><80>}', None)])
def test_parse_minigpt(text, box):
    assert parse_minigpt(text) == box


def test_native_minigpt_boxes_are_hundredths():
    assert parse_minigpt_default('here {<25><30><75><80>}') == (0.25, 0.3, 0.75, 0.8)
    assert parse_minigpt_default(GOLD) == (0.25, 0.3, 0.75, 0.8)


def test_exactly_one_half_is_wrong_unless_inclusive():
    half = [Prediction('1', '[0.25, 0.30, 0.75, 0.55]', (GOLD,), {'size': [640, 480]})]
    assert GroundingCoin().score(half).value == 0.0
    assert GroundingCoin(iou_inclusive=True).score(half).value == 100.0


def test_gold_from_the_context():
    coin = Prediction('1', GOLD, (), {'answer_bbox': [0.25, 0.3, 0.75, 0.8], 'size': [64, 64]})
    minigpt = Prediction('1', GOLD, (), {'origin_answer_bbox': GOLD, 'answer_bbox': '[0, 0, 0.1, 0.1]'})
    assert GroundingCoin().score([coin]).value == 100.0
    assert GroundingMiniGPT().score([minigpt]).value == 100.0


def test_a_bad_gold_box_is_an_error_and_a_bad_answer_is_counted():
    with pytest.raises(DataError, match="'q1': gold box"):
        GroundingCoin().score([Prediction('q1', GOLD, ('[1, 2, 3]',))])
    score = GroundingCoin().score([Prediction('1', 'nowhere', (GOLD,)), Prediction('2', '[0, 0, 1]', (GOLD,))])
    assert (score.value, score.counts['unparsed']) == (0.0, 2)


@pytest.mark.parametrize('size', [[10**400, 1], [float('inf'), 1], [float('nan'), 1], [0, 1], [-3, 4], [True, 1], [640],
                                  [640, 480, 3], ['640', 480], 640, {}, []])
def test_a_size_is_two_sides_in_pixels(size):
    with pytest.raises(DataError, match="'q1': context has size="):
        GroundingCoin().score([Prediction('q1', GOLD, (GOLD,), {'size': size})])


@pytest.mark.parametrize('gold', ['[nan,0,1,1]', [0, 0, float('inf'), 1], [0, 0, 10**400, 1], 7])
def test_a_gold_box_is_four_finite_numbers(gold):
    with pytest.raises(DataError, match="'q1': gold box is"):
        GroundingCoin().score([Prediction('q1', GOLD, (), {'answer_bbox': gold})])


def test_minigpt_takes_the_unpadded_box_of_a_row_that_has_both() -> None:
    from coinkit.metrics.grounding import GroundingCoin, GroundingMiniGPT
    from coinkit.types import Prediction

    row = Prediction('1', '[0.10,0.00,0.50,0.40]', ('[0.10,0.30,0.50,0.60]',), {
        'answer_bbox': '[0.10,0.30,0.50,0.60]', 'origin_answer_bbox': '[0.10,0.00,0.50,0.40]', 'size': [100, 50]})
    assert (GroundingMiniGPT().score([row]).value, GroundingCoin().score([row]).value) == (100, 0)


@pytest.mark.parametrize('metric', [GroundingCoin, GroundingMiniGPT])
@pytest.mark.parametrize('given', [{'iou_threshold': 'abc'}, {'iou_threshold': 7}, {'iou_threshold': True},
                                   {'iou_threshold': float('nan')}, {'iou_inclusive': 'maybe'}, {'iou_inclusive': 1}])
def test_a_threshold_is_a_share_and_inclusive_a_yes_or_no(metric, given):
    with pytest.raises(ConfigError, match=f'{metric.name}: {next(iter(given))}'):
        metric(**given)
    assert metric.preflight(**given)


@pytest.mark.parametrize('word', ['default', 'upstream'])
def test_the_words_of_the_other_switches_mean_not_inclusive(word):
    assert GroundingCoin(iou_inclusive=word).switches['iou_inclusive'] is False
    assert GroundingCoin(iou_inclusive=True).iou_inclusive and GroundingCoin(iou_threshold=0).iou_threshold == 0
