"""The VQA family: the m4c normaliser's quirks, the contraction table, exact matches and the balanced flag of GQA."""

from __future__ import annotations

import pytest

from coinkit.errors import DataError
from coinkit.metrics.contractions import CONTRACTIONS
from coinkit.metrics.m4c import normalise
from coinkit.metrics.vqa import GQA, OCRVQACoin, TextVQAM4C, VQAExactUpper, soft_score
from coinkit.types import Prediction


def test_the_table_has_120_entries():
    assert len(CONTRACTIONS) == 120


@pytest.mark.parametrize('key, value', [
    ('aint', "ain't"), ('maam', "ma'am"), ('oclock', "o'clock"), ('twas', "'twas"), ("couldnt've", "couldn't've"),
    ("couldn'tve", "couldn't've"), ("'ows'at", "'ow's'at"), ("ow's'at", "'ow's'at"), ("'ow'sat", "'ow's'at"),
    ("y'allll", "y'all'll"), ("y'all'dve", "y'all'd've"), ("somebody'd", 'somebodyd'), ("she's", "she's"),
    ("Id've", "I'd've"), ('Im', "I'm")])
def test_contractions(key, value):
    assert CONTRACTIONS[key] == value


@pytest.mark.parametrize('text, normal', [
    ('red,white', 'redwhite'), ('a-b c-d', 'b c d'), ('a- b-c', 'bc'), ('x.', 'x'), ('3.5.', '3.5'), ('1,000', '1000'),
    ("Dog's", "dog 's"), ('none ten', '0 10'), ('dont', "don't"), ('Im', 'im'),
    ("50% & #1 'x' $3: *", "50% & #1 'x' $3: *"),
    ('a\nb\tc', 'b c'), ('The  An', ''), ('[x] {y}', 'x y'), ('¿qué?', '¿qué')])
def test_normalise(text, normal):
    assert normalise(text) == normal


def test_only_32_periods_are_removed():
    assert normalise('x' + '.' * 40) == 'x' + '.' * 8


def test_soft_score_by_number_of_matches():
    assert [soft_score(k) for k in range(6)] == pytest.approx([0, .3, .6, .9, 1, 1])


def test_soft_score_equals_leaving_one_out():
    for matches in range(11):
        answers = [True] * matches + [False] * (10 - matches)
        left_out = [min(1, sum(answers[:i] + answers[i + 1:]) / 3) for i in range(10)]
        assert soft_score(matches) == pytest.approx(sum(left_out) / 10)


def test_textvqa_needs_ten_references():
    with pytest.raises(DataError, match=r"'q3': 2 references.*exactly 10"):
        TextVQAM4C().score([Prediction('q3', 'x', ('x', 'y'))])


def test_upper_maps_sharp_s_to_two_letters():
    score = VQAExactUpper().score([Prediction('1', 'straße', ('STRASSE',)), Prediction('2', 'a ', ('a',))])
    assert score.per_sample == (1.0, 0.0)


def test_gqa_counts_only_balanced_questions():
    rows = [Prediction('1', 'Yes', ('yes',), {'is_balanced': True}),
            Prediction('2', 'no', ('yes',), {'is_balanced': False})]
    score = GQA().score(rows)
    assert (score.value, score.per_sample, score.counts['excluded']) == (100.0, (1.0, None), 1)


def test_gqa_white_space_is_a_switch():
    rows = [Prediction('1', ' Yes. ', ('yes',))]
    assert (GQA().score(rows).value, GQA(mode='upstream').score(rows).value) == (100.0, 0.0)
    assert GQA(mode='upstream', gqa_strip='default').score(rows).value == 100.0


@pytest.mark.parametrize('text, default, upstream', [
    ('yes. .', 'yes.', 'yes. '), ('yes..', 'yes', 'yes'), (' YES ..\n', 'yes', ' yes ..\n'), ('. .', '.', '. '),
    ('...', '', ''), ('yes .', 'yes', 'yes ')])
def test_gqa_takes_periods_off_once(text, default, upstream):
    """Evaluation, section 9: stripped before and after removing '.', which is done once."""
    assert (GQA().convert(text), GQA(mode='upstream').convert(text)) == (default, upstream)


def test_ocrvqa_unanswerable_is_a_switch():
    rows = [Prediction('1', 'Unanswerable', ('Unanswerable',)), Prediction('2', 'unanswerable', ('Unanswerable',))]
    assert OCRVQACoin(mode='upstream').score(rows).per_sample == (0.0, 1.0)
    assert OCRVQACoin().score(rows).per_sample == (1.0, 1.0)


def test_a_reference_is_needed():
    with pytest.raises(DataError, match="'q1': no reference"):
        VQAExactUpper().score([Prediction('q1', 'x')])
