"""Edit distance against the table it abbreviates, ANLS, and the official VQA accuracy beyond the vectors."""

from __future__ import annotations

import random
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.errors import DataError
from coinkit.metrics import edit_distance as module
from coinkit.metrics.edit_distance import edit_distance, edit_distances
from coinkit.metrics.stvqa import STVQAANLS, STVQAAccuracy, anls
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


def by_table(a: str, b: str) -> int:
    """The whole table, a row at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        new = [i]
        for j, y in enumerate(b, start=1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


any_length = st.text(st.sampled_from('ab\u0301\xff\u0100\U0001f600\0\ud800'), max_size=70)


@given(st.lists(st.tuples(any_length, any_length), max_size=12), st.sampled_from([1, 1 << 22]), st.sampled_from([20, 512]))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_many_pairs_at_a_time(pairs, cells, longest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, '_CELLS', cells)
        patch.setattr(module, '_LONGEST', longest)
        found = edit_distances([a for a, _ in pairs], [b for _, b in pairs]).tolist()
    assert found == [by_table(a, b) for a, b in pairs] == [edit_distance(a, b) for a, b in pairs]


@pytest.mark.parametrize('length', [0, 1, 7, 8, 9, 16, 17, 32, 33, 63, 64, 65, 200])
def test_at_the_widths_of_words(length):
    draw = random.Random(length)
    firsts = [''.join(draw.choices('abc', k=length)) for _ in range(40)]
    seconds = [''.join(draw.choices('abc', k=draw.randint(0, 90))) for _ in range(40)]
    assert edit_distances(firsts, seconds).tolist() == list(map(by_table, firsts, seconds))


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
    assert [STVQAANLS().judge(row).value for row in rows] == pytest.approx([1.0, 0.8, 0.0])
    assert STVQAAccuracy().score(rows).per_sample == (1.0, 0.0, 0.0)


def test_official_accuracy_normalises_only_what_differs():
    same, mixed = ('Yes',) * 10, ('Yes',) * 9 + ('yes',)
    rows = [Prediction('1', 'yes', same), Prediction('2', '\tYes\n', same), Prediction('3', 'yes', mixed)]
    assert VQAv2Official().score(rows).per_sample == (0.0, 1.0, 1.0)


@pytest.mark.parametrize('scorer', [STVQAANLS, STVQAAccuracy, VQAv2Official])
def test_references_are_needed(scorer):
    with pytest.raises(DataError, match="'7': no reference"):
        scorer().score([Prediction('7', 'x')])
