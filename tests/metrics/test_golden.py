"""The vectors recorded from the public evaluators hold in upstream mode, and most of them by default too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit.metrics.grounding import GroundingCoin, expand_box, iou
from coinkit.metrics.m4c import normalise, official, one_line
from coinkit.metrics.mathvista import MathVistaCheck
from coinkit.registry import METRICS
from coinkit.types import Prediction

FOLDER = Path(__file__).parents[1] / 'golden' / 'eval'
SCORERS = ('scienceqa_coin', 'scienceqa_llava', 'scienceqa_hide', 'textvqa_m4c', 'vqa_v2_official', 'vqa_exact_upper',
           'stvqa_accuracy', 'imagenet_coin', 'gqa', 'ocrvqa_coin', 'grounding_coin_upstream',
           'grounding_minigpt_upstream', 'mllmcl_rs', 'mllmcl_med', 'mllmcl_sci', 'mllmcl_fin', 'mllmcl_ocr',
           'mathvista_check', 'mllmcl_vp', 'ucit_exact')
FUNCTIONS = ('iou', 'expand_box', 'judge_parse_coin', 'continual_metrics')  # tested below, and in tests/report
# Where the default rule differs from the published one on purpose: case id -> default value.
MENDED = {'imagenet_coin-006': 0.0, 'imagenet_coin-007': 0.0, 'scienceqa_coin-014': 1.0, 'ocrvqa_coin-079': 1.0,
          'grounding_coin_upstream-008': 1.0, 'grounding_coin_upstream-014': 1.0, 'grounding_coin_upstream-010': 1.0,
          'grounding_coin_upstream-026': 1.0, 'grounding_coin_upstream-016': 0.0, 'grounding_coin_upstream-030': 1.0,
          'grounding_coin_upstream-034': 1.0, 'grounding_minigpt_upstream-001': 1.0,
          'grounding_minigpt_upstream-004': 1.0, 'grounding_minigpt_upstream-011': 0.0,
          'grounding_minigpt_upstream-019': 0.0, 'scienceqa_llava-010': 1.0, 'scienceqa_llava-011': 1.0,
          'scienceqa_hide-010': 1.0, 'scienceqa_hide-011': 1.0, 'mllmcl_rs-016': 1.0, 'mllmcl_med-016': 1.0,
          'mllmcl_fin-016': 1.0, 'mllmcl_sci-018': 1.0, 'mllmcl_sci-010': 1.0}


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
    score = METRICS.build({'type': case['scorer'], 'mode': 'upstream'}).score([as_prediction(case)])
    assert score.per_sample == pytest.approx((case['expected'],), abs=tolerance)


@pytest.mark.parametrize('case, tolerance', cases(*SCORERS))
def test_default_mode_differs_only_where_the_rule_is_mended(case, tolerance):
    score = METRICS.build({'type': case['scorer']}).score([as_prediction(case)])
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


@pytest.mark.parametrize('case, tolerance', cases('scienceqa_coin', 'scienceqa_llava', 'scienceqa_hide'))
def test_published_letter(case, tolerance):
    text, scorer = case['prediction'], METRICS.build({'type': case['scorer'], 'mode': 'upstream'})
    letter = None if text is None else scorer.letter(text, case['context']['num_choices'])
    assert (letter or 'FAILED') == case['detail']['parsed']


@pytest.mark.parametrize('case, tolerance', cases('vqa_v2_official'))
def test_official_normalisation(case, tolerance):
    assert (len(set(case['references'])) > 1) == case['detail']['normalisation_applied']
    text = one_line(case['prediction'])
    if case['detail']['normalisation_applied']:
        assert official(text) == case['detail']['normalised_prediction']


@pytest.mark.parametrize('case, tolerance', cases('mathvista_check'))
def test_first_pass_without_a_judge(case, tolerance):
    found = MathVistaCheck(mode='upstream').first_pass(as_prediction(case))
    assert (False if found is None else found) == case['detail']['prefetch']


@pytest.mark.parametrize('case, tolerance', cases('judge_parse_coin'))
def test_published_ratings(case, tolerance):
    score = METRICS.build({'type': 'judge_parse_coin', 'mode': case['context']['mode']}).score([as_prediction(case)])
    assert score.value == pytest.approx(case['expected'], abs=tolerance)


def test_every_vector_belongs_to_a_scorer_that_is_tested():
    named = {case['scorer'] for path in FOLDER.glob('*_vectors.json') for case in json.loads(path.read_text())['cases']}
    assert named == {*SCORERS, *FUNCTIONS}


@pytest.mark.parametrize('case, tolerance', cases('iou'))
def test_iou(case, tolerance):
    assert iou(case['prediction'], case['references'][0]) == pytest.approx(case['expected'], abs=tolerance)


@pytest.mark.parametrize('case, tolerance', cases('expand_box'))
def test_expand_box(case, tolerance):
    context = case['context']
    box = expand_box(case['prediction'], context['width'], context['height'])
    assert box == pytest.approx(case['expected'], abs=tolerance)
