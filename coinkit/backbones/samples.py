"""Samples to tokens, labels and pixels for the native backbones, and encoded samples to padded batches.

`SampleEncoder` holds no mutable state, so worker threads share one. A picture is `tokens_per_image` times IMAGE_ID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from coinkit.backbones.boxes import COIN, BoxFormat
from coinkit.backbones.pixels import PixelReader
from coinkit.backbones.text_codec import TextCodec
from coinkit.backbones.turns import IMAGE_ID, Template, checked_turns, with_image_tags
from coinkit.data.batch import IGNORE, Batch, Encoded
from coinkit.errors import DataError
from coinkit.types import Query, Sample, Turn


@dataclass(frozen=True)
class SampleEncoder:
    """`max_length` cuts training rows; a generation prompt and its answer must fit `context_length`."""

    template: Template
    codec: TextCodec
    read_pixels: PixelReader
    tokens_per_image: int
    max_length: int
    context_length: int
    boxes: BoxFormat = COIN  # how the model writes boxes; records write them as CoIN does

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        ids, labels = self.tokens(sample, training=training)
        encoded = Encoded(sample.id, torch.tensor(ids), torch.tensor(labels))
        if sample.images:
            encoded.pixel_values_P = torch.stack([self.read_pixels(image.load()) for image in sample.images])
            # attention is causal, so nothing up to the last picture depends on what follows it
            encoded.shared_prefix_length = len(ids) - ids[::-1].index(IMAGE_ID)
            content = (ids[:encoded.shared_prefix_length], [image.key for image in sample.images])
            encoded.prefix_key = hashlib.sha1(repr(content).encode()).hexdigest()
        return encoded

    def prompt_length(self, sample: Sample | Query) -> int:
        return len(self.tokens(sample, training=False)[0])

    def tokens(self, sample: Sample | Query, *, training: bool) -> tuple[list[int], list[int]]:
        """Ids and labels with every picture at its full length."""
        turns = checked_turns(sample.id, sample.turns, training=training)
        turns = with_image_tags(sample.id, self._own_boxes(turns, sample), len(sample.images),
                                in_front=self.template.pictures_in_front)
        try:
            ids, labels = self.template.render(turns, self.codec, training=training, max_length=self.max_length)
        except DataError as error:
            raise DataError(f'record {sample.id}: {error}') from error
        cut = self.max_length if training else None  # the published code cuts before and after expanding
        counts = [self.tokens_per_image if one == IMAGE_ID else 1 for one in ids[:cut]]
        ids, labels = _repeated(ids, counts)[:cut], _repeated(labels, counts)[:cut]
        self._check_length(sample, ids, training=training)
        return ids, labels

    def _own_boxes(self, turns: list[Turn], sample: Sample | Query) -> list[Turn]:
        """The turns with their boxes as the model writes them; only a sample with one picture says what a box is of."""
        if self.boxes is COIN or len(sample.images) != 1 or not any(COIN.pattern.search(turn.text) for turn in turns):
            return turns
        size = sample.images[0].size
        return [replace(turn, text=COIN.convert(turn.text, self.boxes, size)) for turn in turns]

    def read_answer(self, text: str, sample: Sample | Query) -> str:
        """A generated text with its boxes as records write them."""
        if self.boxes is COIN or len(sample.images) != 1 or not self.boxes.pattern.search(text):
            return text
        return self.boxes.convert(text, COIN, sample.images[0].size)

    def _check_length(self, sample: Sample | Query, ids: list[int], *, training: bool) -> None:
        if ids.count(IMAGE_ID) != len(sample.images) * self.tokens_per_image:
            raise DataError(f'record {sample.id}: {len(sample.images)} pictures of {self.tokens_per_image} tokens '
                            f'do not fit backbone.max_length={self.max_length}.')
        if not training and len(ids) >= self.context_length:
            raise DataError(f'record {sample.id}: the prompt has {len(ids)} tokens; the model reads at most '
                            f'{self.context_length}, answer included.')


def _repeated(values: Sequence[int], counts: Sequence[int]) -> list[int]:
    return [value for value, count in zip(values, counts, strict=False) for _ in range(count)]


def collate(items: Sequence[Encoded], *, padding_side: str, pad_id: int) -> Batch:
    """Rows padded to the longest, pictures of all rows in one tensor."""
    if padding_side not in ('left', 'right'):
        raise ValueError(f"padding_side is {padding_side!r}, allowed: 'left', 'right'")
    longest = max(len(item.input_ids_L) for item in items)

    def padded(rows: list[Tensor], value: int) -> Tensor:
        gaps = [longest - len(row) for row in rows]
        sides = [(gap, 0) if padding_side == 'left' else (0, gap) for gap in gaps]
        return torch.stack([F.pad(row, side, value=value) for row, side in zip(rows, sides, strict=True)])

    pixels = [item.pixel_values_P for item in items if item.pixel_values_P is not None]
    return Batch(ids=[item.sample_id for item in items],
                 input_ids_BL=padded([item.input_ids_L for item in items], pad_id),
                 attention_mask_BL=padded([torch.ones_like(item.input_ids_L) for item in items], 0),
                 labels_BL=padded([item.labels_L for item in items], IGNORE),
                 pixel_values_P=torch.cat(pixels) if pixels else None)
