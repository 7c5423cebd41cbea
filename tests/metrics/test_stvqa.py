"""Edit distance against the table it abbreviates, ANLS, and the official VQA accuracy beyond the vectors."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.errors import DataError
from coinkit.metrics.stvqa import STVQAANLS, STVQAAccuracy, anls, edit_distance
from coinkit.metrics.vqa import VQAv2Official
from coinkit.types import Prediction

short = st.text(st.sampled_from('ab́😀'), max_size=7)


def by_definition(a: str, b: str) -> int:
    @lru_cache(None)
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))
    return distance(len(a), len(b))


@given(short, short)
@settings(deadline=None)
def test_edit_distance(a, b):
    assert edit_distance(a, b) == by_definition(a, b)


def test_long_texts_take_no_time():
    assert edit_distance('ab' * 5000, 'ba' * 5000) == 2
    assert anls('a' * 100_000, 'b') == 0.0


@pytest.mark.parametrize('a, b, similarity', [('', '', 1.0), ('', 'a', 0.0), ('abcd', 'abce', 0.75), ('ab', 'ac', 0.5),
                                              ('abc', 'axy', 0.0)])
def test_anls(a, b, similarity):
    assert anls(a, b) == pytest.approx(similarity)


def test_the_nearest_reference_counts():
    rows = [Prediction('1', ' Nokia', ('sony', 'nokiA ')), Prediction('2', 'nokla', ('nokia', 'x')),
            Prediction('3', 'q', ('x',))]
    assert STVQAANLS().score(rows).per_sample == pytest.approx((1.0, 0.8, 0.0))
    assert STVQAAccuracy().score(rows).per_sample == (1.0, 0.0, 0.0)


def test_official_accuracy_normalises_only_what_differs():
    same, mixed = ('Yes',) * 10, ('Yes',) * 9 + ('yes',)
    rows = [Prediction('1', 'yes', same), Prediction('2', '\tYes\n', same), Prediction('3', 'yes', mixed)]
    assert VQAv2Official().score(rows).per_sample == (0.0, 1.0, 1.0)


@pytest.mark.parametrize('scorer', [STVQAANLS, STVQAAccuracy, VQAv2Official])
def test_references_are_needed(scorer):
    with pytest.raises(DataError, match="'7': no reference"):
        scorer().score([Prediction('7', 'x')])
