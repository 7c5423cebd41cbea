"""The letter of an option by its text, for the reader of MathVista's file and for its scorer."""

from __future__ import annotations

import pytest

from coinkit.data.mathvista import option_letter


@pytest.mark.parametrize('choices, answer, letter', [
    (['x', 'y'], 'y', 'B'), (['y', 'y'], 'y', 'A'), ([1, 2.5], '2.5', 'B'), (['x'], 'X', None), ([], 'x', None),
    ([str(i) for i in range(40)], '25', 'Z'), ([str(i) for i in range(40)], '26', None)])
def test_option_letter(choices, answer, letter):
    assert option_letter(choices, answer) == letter
