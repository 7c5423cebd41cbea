"""How many tokens pictures cost, from their sizes alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from coinkit.backbones.processors import SHAPES
from coinkit.errors import DataError
from tests.backbones.tiny_transformers import Plain, load, sample

SIZES = [(8, 8), (31, 500), (900, 31), (77, 60), (640, 480), (17, 16), (333, 100)]


@pytest.fixture
def fresh(folder_of):
    """A processor that has counted nothing yet, and a text with `number` tags."""
    def build(kind: str, number: int = 1):
        backbone = load(folder_of(kind), device='meta')
        asked = sample('what is it?', images=[Plain('red')] * number)
        turns = backbone.samples._turns(asked, training=False)
        return backbone.processor, backbone.samples.template.prompt('r', turns)
    return build


@pytest.mark.parametrize('kind', ['internvl', 'llava_onevision', 'idefics3'])
def test_a_processors_own_count_is_the_measured_number(fresh, kind, monkeypatch):
    processor, text = fresh(kind)
    runs, measure = [], type(processor)._measured
    monkeypatch.setattr(type(processor), '_measured', lambda *given: runs.append(1) or measure(*given))
    counted = {size: processor.extra_tokens(text, [size]) for size in SIZES}
    assert len(runs) == len(SHAPES)  # the image processor ran to try the count, not for any of these
    assert counted == {size: measure(processor, text, [size]) for size in SIZES} and len(set(counted.values())) > 1
    two, text_of_two = fresh(kind, 2)  # llava_onevision writes two in another way than one
    assert two.extra_tokens(text_of_two, SIZES[2:4]) == measure(two, text_of_two, SIZES[2:4])


@pytest.mark.parametrize('count', [lambda image_sizes: None, lambda image_sizes: SimpleNamespace(num_image_tokens=[7])])
def test_a_count_that_is_wrong_is_not_believed(fresh, count):
    processor, text = fresh('internvl')
    processor.inner._get_num_multimodal_tokens = count
    for size in SIZES[:3]:
        assert processor.extra_tokens(text, [size]) == processor._measured(text, [size])
    assert processor._counts == {1: False}


def test_a_shape_that_is_refused_stops_nothing(fresh, monkeypatch):
    processor, text = fresh('internvl')
    measure = type(processor)._measured

    def refuse(own, text, sizes):
        if list(sizes) == [SHAPES[-1]]:
            raise DataError('too wide')
        return measure(own, text, sizes)

    monkeypatch.setattr(type(processor), '_measured', refuse)
    assert processor.extra_tokens(text, [SIZES[0]]) == measure(processor, text, [SIZES[0]])
