"""The vectors recorded from the public evaluators hold in upstream mode, and most of them by default too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit.metrics.grounding import GroundingCoin, GroundingMiniGPT, expand_box, iou
from coinkit.metrics.imagenet import ImageNetCoin
from coinkit.metrics.m4c import normalise
from coinkit.metrics.scienceqa import ScienceQACoin
from coinkit.metrics.vqa import GQA, OCRVQACoin, TextVQAM4C, VQAExactUpper
from coinkit.types import Prediction

FOLDER = Path(__file__).parents[1] / 'golden' / 'eval'
SCORERS = {'scienceqa_coin': ScienceQACoin, 'textvqa_m4c': TextVQAM4C, 'imagenet_coin': ImageNetCoin, 'gqa': GQA,
           'vqa_exact_upper': VQAExactUpper, 'grounding_coin_upstream': GroundingCoin,
           'grounding_minigpt_upstream': GroundingMiniGPT, 'ocrvqa_coin': OCRVQACoin}
# Where the default rule differs from the published one on purpose: case id -> default value.
MENDED = {'imagenet_coin-006': 0.0, 'imagenet_coin-007': 0.0, 'scienceqa_coin-014': 1.0, 'ocrvqa_coin-079': 1.0,
          'grounding_coin_upstream-008': 1.0, 'grounding_coin_upstream-014': 1.0, 'grounding_coin_upstream-010': 1.0,
          'grounding_coin_upstream-026': 1.0, 'grounding_coin_upstream-016': 0.0, 'grounding_coin_upstream-030': 1.0,
          'grounding_coin_upstream-034': 1.0, 'grounding_minigpt_upstream-001': 1.0,
          'grounding_minigpt_upstream-004': 1.0, 'grounding_minigpt_upstream-011': 0.0,
          'grounding_minigpt_upstream-019': 0.0}


def cases(*scorers: str) -> list:
    found = []
    for path in sorted(FOLDER.glob('*_vectors.json')):
        blob = json.loads(path.read_text())
        found += [pytest.param(case, blob['about']['tolerance'], id=case['id']) for case in blob['cases']
                  if case['scorer'] in scorers]
    assert {param.values[0]['scorer'] for param in found} == set(scorers)
    return found


def as_prediction(case: dict) -> Prediction:
    return Prediction(case['id'], case['prediction'], tuple(case['references']), case['context'])


@pytest.mark.parametrize('case, tolerance', cases(*SCORERS))
def test_upstream_mode_reproduces_the_published_value(case, tolerance):
    score = SCORERS[case['scorer']](mode='upstream').score([as_prediction(case)])
    assert score.per_sample == pytest.approx((case['expected'],), abs=tolerance)


@pytest.mark.parametrize('case, tolerance', cases(*SCORERS))
def test_default_mode_differs_only_where_the_rule_is_mended(case, tolerance):
    score = SCORERS[case['scorer']]().score([as_prediction(case)])
    assert score.per_sample == pytest.approx((MENDED.get(case['id'], case['expected']),), abs=tolerance)


@pytest.mark.parametrize('case, tolerance', cases('textvqa_m4c'))
def test_normalised_answers_are_those_of_the_evaluator(case, tolerance):
    detail = case['detail']
    assert normalise(case['prediction']) == detail['normalised_prediction']
    assert sorted({normalise(text) for text in case['references']}) == detail['normalised_unique_references']


@pytest.mark.parametrize('case, tolerance', cases('grounding_coin_upstream'))
def test_published_box_parser(case, tolerance):
    box = GroundingCoin(mode='upstream').parse(case['prediction'])
    assert (box and list(box)) == case['detail']['parsed']


@pytest.mark.parametrize('case, tolerance', cases('scienceqa_coin'))
def test_published_letter(case, tolerance):
    text = case['prediction']
    letter = None if text is None else ScienceQACoin(mode='upstream').letter(text, case['context']['num_choices'])
    assert (letter or 'FAILED') == case['detail']['parsed']


@pytest.mark.parametrize('case, tolerance', cases('iou'))
def test_iou(case, tolerance):
    assert iou(case['prediction'], case['references'][0]) == pytest.approx(case['expected'], abs=tolerance)


@pytest.mark.parametrize('case, tolerance', cases('expand_box'))
def test_expand_box(case, tolerance):
    context = case['context']
    box = expand_box(case['prediction'], context['width'], context['height'])
    assert box == pytest.approx(case['expected'], abs=tolerance)
