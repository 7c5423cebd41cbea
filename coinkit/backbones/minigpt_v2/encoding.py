"""Samples to MiniGPT-v2's rows, where they differ from the other backbones'.

`zero_picture` is CoIN's rule: a sample without a picture gets one whose normalised pixels are all zero. In a
conversation the pad piece "$$" takes no part in the attention behind the first prompt: its positions travel in `extras`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image

from coinkit.backbones.samples import SampleEncoder, collate
from coinkit.data.batch import IGNORE, Batch, Encoded
from coinkit.types import Query, Sample, Turn

UNSEEN = 'unseen_L'  # key of Encoded.extras


@dataclass(frozen=True)
class ZeroPicture:
    """Stands for the picture that a sample lacks."""

    key: str = 'zero picture'

    def load(self) -> Image.Image:
        return Image.new('RGB', (1, 1))


@dataclass(frozen=True)
class MiniGPTv2Encoder(SampleEncoder):
    """`unseen_id` None: the vocabulary has no such piece, or the template has no such quirk."""

    zero_picture: bool = False
    unseen_id: int | None = None

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        encoded = super().encode(self._with_picture(sample), training=training)
        if self.zero_picture and not sample.images:
            encoded.pixel_values_P = torch.zeros_like(encoded.pixel_values_P)
        if training and self.unseen_id is not None and sum(turn.role == 'gpt' for turn in sample.turns) > 1:
            block_L = (encoded.labels_L != IGNORE).cumsum(0) > 0
            encoded.extras[UNSEEN] = block_L & (encoded.input_ids_L == self.unseen_id)
        return encoded

    def prompt_length(self, sample: Sample | Query) -> int:
        return super().prompt_length(self._with_picture(sample))

    def _own_boxes(self, turns: list[Turn], sample: Sample | Query) -> list[Turn]:
        """A box in a text without a picture is a box of nothing: it stays as the record writes it."""
        return turns if any(isinstance(one, ZeroPicture) for one in sample.images) else super()._own_boxes(turns, sample)

    def _with_picture(self, sample: Sample | Query) -> Sample | Query:
        return replace(sample, images=(ZeroPicture(),)) if self.zero_picture and not sample.images else sample


def collate_rows(items: Sequence[Encoded], *, padding_side: str, pad_id: int) -> Batch:
    """Padded rows in which unseen positions have attention 0."""
    batch = collate(items, padding_side=padding_side, pad_id=pad_id)
    length = batch.input_ids_BL.shape[1]
    for row, item in enumerate(items):
        if UNSEEN in item.extras:
            offset = length - len(item.input_ids_L) if padding_side == 'left' else 0
            batch.attention_mask_BL[row, offset + item.extras[UNSEEN].nonzero(as_tuple=True)[0]] = 0
    return batch
