"""Where the pictures of a record stand in its turns."""

import pytest

from coinkit.backbones.turns import with_image_tags
from coinkit.types import Turn


@pytest.mark.parametrize(('text', 'answered', 'expected'), [
    ('what?', False, '<image>\nwhat?'),
    ('<image>\nwhat?', False, '<image>\nwhat?'),
    ('what? <image>', False, '<image>\nwhat?'),
    ('<image> what?', False, '<image> what?'),
    ('<image> what?', True, '<image>\nwhat?'),  # as the published training code writes all rows
    ('<image>', False, '<image>'),
])
def test_a_tag_is_put_in_front(text: str, answered: bool, expected: str) -> None:
    turns = [Turn('human', text), *([Turn('gpt', 'a ring')] if answered else [])]
    assert with_image_tags('r', turns, 1, in_front=True)[0].text == expected


def test_a_tag_keeps_its_place() -> None:
    turns = [Turn('human', 'left <image> or <image>?'), Turn('gpt', 'no'), Turn('human', ' <image> now?')]
    assert with_image_tags('r', turns, 3, in_front=False) == turns
    assert [turn.text for turn in with_image_tags('r', turns, 3, in_front=True)] == [
        '<image>\n<image>\nleft  or ?', 'no', '<image>\nnow?']


def test_two_pictures_are_lines_of_their_own() -> None:
    for in_front in (False, True):
        turns = with_image_tags('r', [Turn('human', 'which?')], 2, in_front=in_front)
        assert turns[0].text == '<image>\n<image>\nwhich?'
