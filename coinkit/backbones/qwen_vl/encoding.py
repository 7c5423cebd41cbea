"""Samples to Qwen-VL's rows, where they differ from the other backbones'.

Dynamic NTK makes every state of a prompt longer than `ntk_from` depend on its whole length, so such prompts share no
prefix. Pictures are given as images of the record: a path between `<img>` and `</img>` in a text opens nothing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from coinkit.backbones.boxes import COIN
from coinkit.backbones.qwen_vl.tokenizer import BOX_MARKS
from coinkit.backbones.samples import SampleEncoder
from coinkit.data.batch import Encoded
from coinkit.errors import DataError
from coinkit.types import Query, Sample

MARK = re.compile('|'.join(map(re.escape, BOX_MARKS)))


@dataclass(frozen=True)
class QwenVLEncoder(SampleEncoder):
    """`ntk_from` None: the model has no dynamic NTK. `vocabulary` is what the model embeds."""

    ntk_from: int | None = None
    vocabulary: int = 151936

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        encoded = super().encode(sample, training=training)
        if self.ntk_from is not None and len(encoded.input_ids_L) > self.ntk_from:
            encoded.shared_prefix_length, encoded.prefix_key = 0, ''
        return encoded

    def read_answer(self, text: str, sample: Sample | Query) -> str:
        """Boxes as records write them; marks around what is no box, or of no one picture, are left out."""
        text = super().read_answer(text, sample)
        return text if self.boxes is COIN or not MARK.search(text) else MARK.sub('', text).strip()

    def tokens(self, sample: Sample | Query, *, training: bool) -> tuple[list[int], list[int]]:
        if any('<img>' in turn.text for turn in sample.turns):
            raise DataError(f"record {sample.id}: a text holds '<img>'. Give pictures as the record's images, and mark "
                            'their places with <image>.')
        try:
            ids, labels = super().tokens(sample, training=training)
        except DataError as error:
            if sample.id in str(error):
                raise
            raise DataError(f'record {sample.id}: {error}') from error
        if (largest := max(ids)) >= self.vocabulary:
            raise DataError(f'record {sample.id}: the tokenizer gives id {largest}, the model embeds {self.vocabulary}. '
                            "Is the folder's .tiktoken file that of another model?")
        return ids, labels


def without_first(text: str) -> str:
    """The text less its first character; a mark of a box is none."""
    mark = MARK.match(text)
    start = 0 if mark is None else mark.end()
    return text[:start] + text[start + 1:]
