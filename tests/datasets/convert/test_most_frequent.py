"""Which of several answers is the one."""

from __future__ import annotations

import pytest

from coinkit.datasets.convert.rows import most_frequent


@pytest.mark.parametrize(('answers', 'answer'), [
    (['a', 'b', 'b'], 'b'), (['b', 'a', 'a', 'b'], 'b'), ([' a', 'a ', 'b'], 'a'), (['', ' ', '', 'x'], 'x'),
    (['', ' '], ''), ([], ''), (['A', 'a', 'a'], 'a'), (['z', 'a'], 'z')])
def test_the_answer_most_often_given_and_the_first_of_several(answers, answer):
    assert most_frequent(answers) == answer
