"""The drawn world: what is said about a picture is what was painted on it."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest

from coinkit.datasets.mini import world
from coinkit.datasets.mini.sentences import CAPTION, DEFAULT_MIX, KINDS, caption, draw_sentence, sentence
from coinkit.datasets.mini.tasks import TASKS

SCENE = [('orange star', (3, 31, 15, 43)), ('cyan circle', (20, 44, 32, 56))]
SIGN = ('net', 'purple')
BOOK = ('unit', 'mia', 'law')


def pixels(image):
    return np.asarray(image).astype(int)


def painted(array, colour):
    """Rows and columns of the pixels of one colour, as x and y."""
    rows, columns = np.nonzero((array == world.COLOURS[colour]).all(-1))
    return columns, rows


@pytest.mark.parametrize('seed', range(40))
def test_objects_of_a_scene_are_painted_inside_their_boxes_and_apart(seed):
    image, items = world.scene(Random(seed))
    array = pixels(image)
    assert 1 <= len(items) <= 4
    assert len({item.name for item in items}) == len(items)
    for item in items:
        x, y = painted(array, item.colour)
        inside = (x >= item.box[0]) & (x <= item.box[2]) & (y >= item.box[1]) & (y <= item.box[3])
        assert inside.sum() > 20, item
        same_colour = [o for o in items if o.colour == item.colour]
        assert len(same_colour) > 1 or inside.all(), item
        assert (item.size == 'small') == (item.box[2] - item.box[0] < 18)
    for a in items:
        assert not any(a is not b and abs(a.x - b.x) < a.radius + b.radius and abs(a.y - b.y) < a.radius + b.radius
                       for b in items)


@pytest.mark.parametrize('shape', world.SHAPE_NAMES)
def test_every_shape_fills_most_of_its_box(shape):
    from PIL import Image, ImageDraw

    image = Image.new('RGB', (64, 64), (240, 240, 240))
    world.draw_shape(ImageDraw.Draw(image), shape, 'red', 32, 32, 12, (240, 240, 240))
    x, y = painted(pixels(image), 'red')
    assert x.min() >= 19 and y.min() >= 19 and x.max() <= 45 and y.max() <= 45
    assert x.max() - x.min() >= 12 and y.max() - y.min() >= 12


def test_a_full_scene_has_the_number_asked_for():
    assert all(len(world.full_scene(Random(seed), 3)[1]) == 3 for seed in range(50))


def test_a_sign_shows_its_colour_and_text():
    for seed in range(50):
        plate = world.sign(Random(seed))
        assert len(painted(pixels(plate.image), plate.colour)[0]) > 60
        assert re.fullmatch(r'[a-z]{3,5}|\d{1,4}', plate.text)


def test_a_spoilt_picture_has_lost_its_contrast():
    for seed in range(30):
        rng = Random(seed)
        image, _ = world.scene(rng, 1)
        before, after = pixels(image).std(axis=(0, 1)).max(), pixels(world.spoil(rng, image)).std(axis=(0, 1)).max()
        assert after < 0.8 * before


def test_boxes_are_written_with_two_decimals_inside_the_picture():
    assert world.box_text((-3, 0, 32, 70)) == '[0.00,0.00,0.50,1.00]'


def test_pictures_come_from_the_seed_alone():
    for kind, task in TASKS.items():
        assert task(Random(kind)).image.tobytes() == task(Random(kind)).image.tobytes()
        assert task(Random(kind)).image.tobytes() != task(Random(kind + 'x')).image.tobytes()


def test_the_order_of_random_draws_is_that_of_the_weights():
    """Numbers drawn before anything is painted, so they hold for any Pillow."""
    image, items = world.scene(Random('scene'), 2)
    assert [(item.name, item.box) for item in items] == SCENE
    assert (lambda s: (s.text, s.colour))(world.sign(Random('sign'))) == SIGN
    assert world.book(Random('book'))[1:] == BOOK


def test_captions_tell_all_objects_from_left_to_right():
    texts = [caption(Random(seed)).answer for seed in range(200)]
    scenes = [text for text in texts if '[' in text]
    assert len(scenes) > 60
    for text in scenes:
        lefts = [float(v) for v in re.findall(r'\[([\d.]+),', text)]
        rights = [float(v) for v in re.findall(r'([\d.]+),[\d.]+\]', text)]
        middles = [left + right for left, right in zip(lefts, rights, strict=True)]
        assert middles == sorted(middles)
    assert {'nothing clear'} < set(texts)
    assert any(re.fullmatch(r'\w+ sign reads \w+', t) for t in texts)
    assert any(re.fullmatch(r'book titled \w+ author \w+ genre \w+', t) for t in texts)


@pytest.mark.parametrize('kind', TASKS)
def test_pre_training_never_shows_a_tasks_own_answer(kind):
    for seed in range(60):
        drawn = TASKS[kind](Random(f'{kind}{seed}'))
        text = sentence(kind, drawn)
        assert text != drawn.answer and len(text.split()) >= 3
        assert drawn.answer in text or drawn.answer == 'unanswerable'


def test_pre_training_samples_follow_the_mix_and_the_seed():
    only = {'gqa': 1.0}
    assert draw_sentence(Random(1), only)[1:] == draw_sentence(Random(1), only)[1:]
    humans = [draw_sentence(Random(seed), only)[1] for seed in range(90)]
    assert all('is the ' in h or 'is there ' in h or 'color is' in h for h in humans)
    assert 5 < sum('\n' not in human for human in humans) < 35
    assert set(DEFAULT_MIX) == set(KINDS) and KINDS[0] == CAPTION
