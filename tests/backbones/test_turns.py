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
    assert with_image_tags('r', turns, 1)[0].text == expected


def test_two_pictures_are_lines_of_their_own() -> None:
    assert with_image_tags('r', [Turn('human', 'which?')], 2)[0].text == '<image>\n<image>\nwhich?'
