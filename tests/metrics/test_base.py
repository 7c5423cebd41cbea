"""Denominators, duplicates, switches and what is recorded with a score."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import ConfigError, DataError
from coinkit.metrics.grounding import GroundingCoin
from coinkit.metrics.imagenet import ImageNetCoin
from coinkit.metrics.mllm_cl_domain import MLLMCLRS
from coinkit.metrics.run import score_files
from coinkit.metrics.vqa import OCRVQACoin, VQAExactUpper
from coinkit.registry import METRICS
from coinkit.types import Metric, Prediction

ROWS = [Prediction('1', 'cat', ('cat',)), Prediction('2', 'dog', ('cat',)), Prediction('3', None, ('cat',))]


def test_missing_answers_are_wrong_by_default_and_absent_upstream():
    default, upstream = VQAExactUpper().score(ROWS), VQAExactUpper(mode='upstream').score(ROWS)
    assert default.value == pytest.approx(100 / 3)
    assert upstream.value == 50.0
    assert default.counts == {'items': 3, 'missing': 1, 'unparsed': 0, 'excluded': 0}
    assert upstream.counts['items'] == 2
    assert (default.per_sample, upstream.per_sample) == ((1.0, 0.0, 0.0), (1.0, 0.0, None))


def test_duplicate_ids_are_an_error_where_annotations_are_divided_by():
    with pytest.raises(DataError, match="duplicate prediction ids: '1'"):
        VQAExactUpper().score([ROWS[0], ROWS[0]])
    assert VQAExactUpper(denominator='upstream').score([ROWS[0], ROWS[0]]).counts['items'] == 2


def test_no_items_is_undefined_not_zero():
    assert VQAExactUpper().score([]).value is None


def test_a_switch_wins_over_the_mode_and_is_recorded():
    metric = ImageNetCoin(mode='upstream', imagenet_empty='default')
    score = metric.score([Prediction('1', ' ', ('great white',)), Prediction('2', 'white', ('great white',))])
    assert score.value == 50.0
    assert score.details['switches'] == {'denominator': 'upstream', 'imagenet_empty': 'default',
                                         'imagenet_align': 'upstream'}


def test_an_unknown_switch_value_names_the_nearest():
    with pytest.raises(ConfigError, match=r"ocrvqa_coin: unanswerable: unknown mode 'upstraem'.*'upstream'"):
        OCRVQACoin(unanswerable='upstraem')
    with pytest.raises(ConfigError, match='mode'):
        GroundingCoin(mode='legacy')


@pytest.mark.parametrize('mode', [None, [], {}, 0, True, ''])
@pytest.mark.parametrize('name', METRICS.names())
def test_a_mode_is_one_of_two_words(name, mode):
    with pytest.raises(ConfigError, match='mode: unknown mode'):
        METRICS.build({'type': name, 'mode': mode})


@pytest.mark.parametrize('name', METRICS.names(aliases=True))
def test_scorers_fit_the_protocol_and_know_the_preset(name):
    for mode in ('default', 'upstream'):
        scorer = METRICS.build({'type': name, 'mode': mode})
        assert isinstance(scorer, Metric) and METRICS.entry(name).alias_of in ('', scorer.name)


def test_the_names_of_the_specifications_are_there():
    assert set(METRICS.names(aliases=True)) >= {
        'scienceqa_coin', 'scienceqa_llava', 'scienceqa_hide', 'textvqa_m4c', 'imagenet_coin', 'gqa', 'vqa_exact_upper',
        'ocrvqa_coin', 'grounding_coin', 'grounding_coin_upstream', 'grounding_minigpt', 'grounding_minigpt_upstream',
        'vqa_v2_official', 'stvqa_accuracy', 'stvqa_anls', 'mllmcl_rs', 'mllmcl_med', 'mllmcl_sci', 'mllmcl_fin',
        'mllmcl_ocr', 'mathvista_check', 'mllmcl_vp', 'mllmcl_app', 'ucit_exact', 'ucit_caption', 'judge_parse_coin'}


def test_wrong_switches_are_found_before_a_run():
    assert VQAExactUpper.preflight(mode='upstream') == []
    (problem,) = OCRVQACoin.preflight(unanswerable='upstraem')
    assert problem.where == 'metric ocrvqa_coin: unanswerable'
    assert MLLMCLRS.preflight(substring_match='word') == [] and MLLMCLRS.preflight(mode='word')


def test_scoring_is_linear_and_quick():
    """50,000 answers in well under a second of Python: no quadratic search for duplicates or ids."""
    rows = [Prediction(str(i), 'cat', ('cat',)) for i in range(50_000)]
    assert VQAExactUpper().score(rows).counts['items'] == 50_000


def test_one_of_several_references_that_differ_is_not_picked_silently():
    rows = [Prediction('q7', 'wren', ('bird', 'wren', 'wren'), {})]
    with pytest.raises(DataError, match="'q7': 3 reference answers that differ .'bird', 'wren'.*multiple_choice_answer"):
        VQAExactUpper().score(rows)
    assert VQAExactUpper(mode='upstream').score(rows).value == 0.0
    assert VQAExactUpper().score([Prediction('q7', 'bird', ('bird', 'bird'), {})]).value == 100.0


def test_the_answer_that_annotators_were_brought_down_to_is_gold(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'annotations': [{
        'question_id': 7, 'answers': [{'answer': 'bird'}, {'answer': 'wren'}], 'multiple_choice_answer': 'wren'}]}))
    (tmp_path / 'p.jsonl').write_text('{"id": "7", "prediction": "wren"}')
    score, _ = score_files(VQAExactUpper(), tmp_path / 'p.jsonl', tmp_path / 'a.json')
    assert score.value == 100.0
    score, _ = score_files(VQAExactUpper(mode='upstream'), tmp_path / 'p.jsonl', tmp_path / 'a.json')
    assert score.value == 0.0, 'the first, as published'
