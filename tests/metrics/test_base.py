"""Denominators, duplicates, switches and what is recorded with a score."""

from __future__ import annotations

import pytest

from coinkit.errors import ConfigError, DataError
from coinkit.metrics.grounding import GroundingCoin
from coinkit.metrics.imagenet import ImageNetCoin
from coinkit.metrics.vqa import OCRVQACoin, VQAExactUpper
from coinkit.types import Metric, Prediction

ROWS = [Prediction('1', 'cat', ('cat',)), Prediction('2', 'dog', ('cat',)), Prediction('3', None, ('cat',))]


def test_missing_answers_are_wrong_by_default_and_absent_upstream():
    default, upstream = VQAExactUpper().score(ROWS), VQAExactUpper(mode='upstream').score(ROWS)
    assert default.value == pytest.approx(100 / 3)
    assert upstream.value == 50.0
    assert default.counts == {'items': 3, 'missing': 1, 'unparsed': 0, 'excluded': 0}
    assert upstream.counts['items'] == 2
    assert default.per_sample == (1.0, 0.0, 0.0)


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


def test_scorers_fit_the_protocol():
    assert isinstance(VQAExactUpper(), Metric)


def test_scoring_is_linear_and_quick():
    """50,000 answers in well under a second of Python: no quadratic search for duplicates or ids."""
    rows = [Prediction(str(i), 'cat', ('cat',)) for i in range(50_000)]
    assert VQAExactUpper().score(rows).counts['items'] == 50_000
