"""Pictures on disk: what a good one becomes, how a bad one is named, and what the policy makes of it."""

from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pytest
from PIL import Image

from coinkit.data import images
from coinkit.data.images import BadImagePolicy, FileImage, missing_images, pad_to_square, without_tags
from coinkit.errors import BadImage, ConfigError
from coinkit.types import ImageSource, Sample, Turn


@pytest.fixture
def folder(tmp_path):
    Image.new('RGBA', (6, 4), (10, 20, 30, 255)).save(tmp_path / 'good.png')
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    for name in ('whole.jpg', 'whole.png'):
        Image.fromarray(noise).save(tmp_path / name)
        (tmp_path / f'cut-{name}').write_bytes((tmp_path / name).read_bytes()[:600])
    (tmp_path / 'text.jpg').write_text('<html>not found</html>')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'folder.jpg').mkdir()
    return tmp_path


def test_a_picture_becomes_rgb(folder):
    source = FileImage('good.png', str(folder))
    assert isinstance(source, ImageSource)
    image = source.load()
    assert (image.mode, image.size, image.getpixel((0, 0))) == ('RGB', (6, 4), (10, 20, 30))
    assert source.key == str(folder / 'good.png')


@pytest.mark.parametrize('name', ['cut-whole.jpg', 'cut-whole.png', 'text.jpg', 'empty.jpg', 'folder.jpg', 'no.jpg'])
def test_a_bad_picture_is_named(folder, name):
    with pytest.raises(BadImage, match=name):
        FileImage(name, str(folder)).load()


def test_too_many_pixels_are_refused_before_decoding(folder, monkeypatch):
    monkeypatch.setattr(images, 'MAX_PIXELS', 23)
    with pytest.raises(BadImage, match='6 x 4 pixels'):
        FileImage('good.png', str(folder)).load()


@pytest.mark.parametrize('path', ['/etc/passwd', '../x.png', 'a/../../x.png', '..'])
def test_a_path_may_not_leave_its_root(path):
    with pytest.raises(BadImage, match='leads out of the image root'):
        FileImage(path, 'root')


def test_a_path_may_wander_inside_its_root(folder):
    assert FileImage('folder.jpg/../good.png', str(folder)).load().size == (6, 4)


def test_missing_images_are_listed(folder):
    assert missing_images(['good.png', 'b.png', 'whole.jpg', 'a.png'], folder) == ['b.png', 'a.png']


@pytest.mark.parametrize(('size', 'corner'), [((4, 7), (1, 0)), ((7, 4), (0, 1)), ((5, 5), (0, 0))])
def test_padding_centres_the_picture(size, corner):
    padded = pad_to_square(Image.new('RGB', size, (255, 0, 0)), (1, 2, 3))
    side = max(size)
    assert padded.size == (side, side)
    red = np.argwhere(np.asarray(padded)[..., 0] == 255)
    assert tuple(red.min(0)[::-1]) == corner
    assert len(red) == size[0] * size[1]


SAMPLE = Sample('q7', 'GQA', (FileImage('absent.jpg', 'root'),), (Turn('human', 'q'),))
ERROR = BadImage('root/absent.jpg: there is no such image.')


def test_policy_error_names_record_and_file():
    with pytest.raises(BadImage, match=r"record 'q7' of GQA: root/absent.jpg"):
        BadImagePolicy().resolve(SAMPLE, ERROR)


def test_policy_skip_counts_and_keeps_the_first_messages():
    policy = BadImagePolicy('skip')
    assert [policy.resolve(SAMPLE, ERROR) for _ in range(25)] == [None] * 25
    report = policy.report()
    assert (report['skipped'], report['stripped'], len(report['first'])) == (25, 0, BadImagePolicy.KEEP)
    assert "'q7'" in report['first'][0]


def test_policy_text_only_keeps_the_sample_without_its_picture():
    policy = BadImagePolicy('text_only')
    kept = policy.resolve(SAMPLE, ERROR)
    assert (kept.images, kept.turns, kept.id) == ((), SAMPLE.turns, 'q7')
    assert policy.report()['stripped'] == 1


def test_policy_text_only_drops_the_tags_with_the_pictures():
    turns = (Turn('human', 'left <image> and\n<image>\nwhich?'), Turn('gpt', 'a'), Turn('human', '<image> now?'))
    kept = BadImagePolicy('text_only').resolve(dataclasses.replace(SAMPLE, turns=turns), ERROR)
    assert [turn.text for turn in kept.turns] == ['left\nand\nwhich?', 'a', 'now?']


@pytest.mark.parametrize(('text', 'left'), [
    ('a <image>\n b', 'a\nb'), ('<image><image>q ', 'q'), ('a<image> \t<image>b', 'a\n\nb'), (' no tag ', ' no tag '),
    ('\u00a0<image>\u2003q\x1c', 'q'), (' a  b \n<image>', 'a  b')])
def test_tags_and_the_space_around_them_are_taken_out(text, left):
    assert without_tags(text) == left
    assert '<image>' not in text or left == re.sub(r'\s*<image>\s*', '\n', text).strip()


def test_tags_are_taken_out_of_long_blanks_at_once():
    start = time.perf_counter()
    assert without_tags('<image>x' + ' ' * 50_000 + 'y') == 'x' + ' ' * 50_000 + 'y'
    assert time.perf_counter() - start < 1


def test_policy_of_another_name_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'skip'"):
        BadImagePolicy('skipp')
