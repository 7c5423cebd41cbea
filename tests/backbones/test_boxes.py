"""Box formats: known values, both ways, on pictures of any shape."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coinkit.backbones.boxes import COIN, FORMATS, MINIGPT, QWEN

SQUARE, WIDE = (100, 100), (640, 480)


@pytest.mark.parametrize('size, coin, qwen, minigpt', [
    (SQUARE, '[0.100,0.250,0.550,0.800]', '<box>(100,250),(550,800)</box>', '{<10><25><55><80>}'),
    (SQUARE, '[0.290,0.570,0.580,1.000]', '<box>(290,570),(580,1000)</box>', '{<29><57><58><100>}'),
    # 640 x 480 is padded by 80 pixels above and below: a quarter of the square is 160 - 80 = 80 pixels down, a sixth
    (WIDE, '[0.500,0.250,0.750,0.875]', '<box>(500,166),(750,1000)</box>', '{<50><16><75><100>}'),
    ((480, 640), '[0.125,0.500,0.500,1.000]', '<box>(0,500),(500,1000)</box>', '{<0><50><50><100>}')])
def test_known_boxes(size, coin, qwen, minigpt):
    assert COIN.convert(f'at {coin}.', QWEN, size) == f'at {qwen}.'
    assert COIN.convert(coin, MINIGPT, size) == minigpt
    assert QWEN.convert(qwen, MINIGPT, size) == minigpt


@pytest.mark.parametrize('text', ['no box', '[1, 2]', '[10,20,30,40]', 'in 2010 [a,b,c,d]', '(A) and (B)', '{<1><2>}',
                                  '[0,1,1,0] or [0, 0, 1, 1]', 'sorted: [0.1,0.7,0.3,0.2]', '[0.5,0.5,0.5,0.5]',
                                  '[1.2,1.5,1.8,1.9]', 'The points are (1,2),(3,4).', '(100,200),(300,400)'])
@pytest.mark.parametrize('source', FORMATS.values(), ids=lambda one: one.name)
def test_other_text_stays(text, source):
    for target in FORMATS.values():
        assert source.convert(text, target, WIDE) == text


def test_every_box_of_a_text_is_converted():
    text = 'the cup [0.1,0.2,0.3,0.4] and the plate [0, 0.5, 1, .75]'
    assert COIN.convert(text, MINIGPT, SQUARE) == 'the cup {<10><20><30><40>} and the plate {<0><50><100><75>}'


def test_predictions_that_are_not_quite_right_are_read():
    assert QWEN.convert('<box>(100,200),(300,400)', COIN, SQUARE) == '[0.100,0.200,0.300,0.400]'
    assert QWEN.convert('<box>(300,200),(100,400)</box>', COIN, SQUARE) == '[0.300,0.200,0.100,0.400]'
    assert QWEN.convert('<ref>a cup</ref><box>(100, 200), (300,2000)</box>', COIN, SQUARE) == \
        '<ref>a cup</ref>[0.100,0.200,0.300,1.000]'


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4), st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_there_and_back(numbers, size):
    x1, x2, y1, y2 = [*sorted(numbers[:2]), *sorted(numbers[2:])]
    numbers = x1, y1, x2, y2
    coin = QWEN.convert(f'<box>({x1},{y1}),({x2},{y2})</box>', COIN, size)
    left, top, right, bottom = map(float, coin.strip('[]').split(','))
    assume(left < right and top < bottom)
    back = list(map(int, re.findall(r'\d+', COIN.convert(coin, QWEN, size))))
    # three decimals of the long side, seen from the edge, and one cut to an integer
    room = [1 + 0.5 * max(size) / edge for edge in (*size, *size)]
    assert all(abs(a - b) <= most + 1e-6 for a, b, most in zip(numbers, back, room, strict=True))
