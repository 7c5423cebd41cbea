"""Test samples as generation requests, with what `on_bad_image` says when a picture cannot be opened.

A picture may turn out to be bad when the prompt is measured (its size decides the length) or when it is encoded, in any
thread; either way the sample is asked without it or its answer counts as wrong, and both are kept with the predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from coinkit.data.batch import Encoded
from coinkit.data.images import BadImagePolicy, without_pictures
from coinkit.engine.generation import Request
from coinkit.errors import BadImage
from coinkit.types import Sample


class Questions:
    """The samples of one test set, asked by position."""

    def __init__(self, backbone: Any, samples: Sequence[Sample], *, on_bad_image: str):
        self.backbone, self.samples, self.policy = backbone, samples, BadImagePolicy(on_bad_image)
        self.bad_images: dict[int, str] = {}  # position -> 'skip' (its answer counts as wrong) or 'text_only'
        self._pictureless: dict[int, Sample] = {}

    def request(self, position: int, max_new_tokens: int) -> Request:
        return Request(position, self._length(position), partial(self._encode, position), max_new_tokens,
                       partial(self._read, position))

    def _length(self, position: int) -> int:
        try:
            return self.backbone.prompt_length(self._sample(position))
        except BadImage as error:
            return self.backbone.prompt_length(self._without_pictures(position, error))

    def _encode(self, position: int) -> Encoded:
        try:
            return self.backbone.encode(self._sample(position), training=False)
        except BadImage as error:
            return self.backbone.encode(self._without_pictures(position, error), training=False)

    def _read(self, position: int, text: str) -> str:
        return self.backbone.read_answer(text, self._sample(position))

    def _sample(self, position: int) -> Sample:
        return self._pictureless.get(position, self.samples[position])

    def _without_pictures(self, position: int, error: BadImage) -> Sample:
        """Raises under 'error'; a skipped sample is still asked, so that the plan of batches stays."""
        self.policy.resolve(self.samples[position], error)
        self.bad_images[position] = self.policy.policy
        return self._pictureless.setdefault(position, without_pictures(self.samples[position]))

    def complaint(self) -> str:
        """What could not be used, '' when all could."""
        if not self.policy.first:
            return ''
        return (f'{self.policy.skipped} pictures could not be used, their answers count as wrong; {self.policy.stripped} '
                f'questions were asked without theirs. First: {self.policy.first[0]}')
