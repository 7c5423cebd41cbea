"""Test samples as requests: a picture that cannot be opened, found at any moment, under each policy."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from coinkit.engine.questions import Questions
from coinkit.errors import BadImage
from coinkit.types import Sample, Turn


@dataclass(frozen=True)
class Broken:
    key: str = 'broken.png'

    @property
    def size(self):
        raise BadImage('broken.png cannot be decoded')

    def load(self):
        raise BadImage('broken.png cannot be decoded')


@dataclass
class Recorder:
    """Measures by the picture's size where `sized`, else opens it only to encode."""

    sized: bool
    asked: list[int] = field(default_factory=list)

    def prompt_length(self, sample):
        if self.sized and sample.images:
            return sample.images[0].size[0]
        return 7

    def encode(self, sample, *, training):
        if sample.images:
            sample.images[0].load()
        self.asked.append(len(sample.images))
        assert sum(turn.text.count('<image>') for turn in sample.turns) in (0, len(sample.images))
        return sample.id

    def read_answer(self, text, sample):
        return f'{text} of {len(sample.images)} pictures'


SAMPLE = Sample('s', 't', (Broken(),), (Turn('human', '<image> what is it?'),))


@pytest.mark.parametrize('sized', [True, False])
@pytest.mark.parametrize('policy', ['skip', 'text_only'])
def test_a_bad_picture_is_asked_without_it_and_counted_once(sized, policy):
    backbone = Recorder(sized)
    questions = Questions(backbone, [SAMPLE], on_bad_image=policy)
    request = questions.request(0, 5)
    assert (request.length, request.max_new_tokens) == (7, 5)
    assert request.encode() == 's' and backbone.asked == [0]
    assert request.read_answer('a cat') == 'a cat of 0 pictures'
    assert questions.bad_images == {0: policy}
    assert questions.policy.skipped + questions.policy.stripped == 1 and 'broken.png' in questions.complaint()


@pytest.mark.parametrize('sized', [True, False])
def test_an_error_names_the_record(sized):
    questions = Questions(Recorder(sized), [SAMPLE], on_bad_image='error')
    with pytest.raises(BadImage, match="record 's'"):
        questions.request(0, 5).encode()
