"""Samples to tokens, labels and pictures through a checkpoint's own chat template and processor, and their batches.

`ChatEncoder` holds no state that a sample changes, so worker threads share one. The answers and the end token of each are
supervised. Extras are the model's own inputs by name: SEQUENCES have one value per token, QFORMER texts have a length of
their own, the rest belongs to pictures.
Shape suffixes: B rows, L tokens, D position axes (1, or 3 for time, height and width).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from coinkit.backbones.chat import TRIAL, WHERE, ChatTemplate
from coinkit.backbones.processors import Processor, Written
from coinkit.backbones.samples import collate
from coinkit.backbones.turns import checked_turns, with_image_tags
from coinkit.data.batch import IGNORE, Batch, Encoded
from coinkit.data.images import image_size
from coinkit.errors import BadImage, ConfigError, DataError, Problem
from coinkit.types import Query, Sample, Turn

SEQUENCES = ('mm_token_type_ids', 'token_type_ids', 'position_ids')
QFORMER = ('qformer_input_ids', 'qformer_attention_mask')


@dataclass(frozen=True)
class ChatEncoder:
    """`positions` gives the positions (D, L) of a row where they are more than its token numbers."""

    processor: Processor
    template: ChatTemplate
    image_id: int
    eos_ids: frozenset[int]
    max_length: int
    context_length: int
    positions: Callable[[dict[str, Tensor]], Tensor] | None = None
    shares_prefix: bool = False  # hidden states up to the last picture are known not to depend on what follows
    reads_instruction: bool = False  # a Q-Former reads the question: one picture and one question per record

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        turns = self._turns(sample, training=training)
        self._check_number(sample, turns)
        text, answers = self.template.conversation(sample.id, turns) if training else (
            self.template.prompt(sample.id, turns), [])
        pictures = [image.load() for image in sample.images]
        self.processor.check_sizes([picture.size for picture in pictures])
        written = self.processor(sample.id, text, pictures)
        if self.reads_instruction:
            written.tensors.update(self.processor.instruction(text[:answers[0][0]] if answers else text))
        return self._encoded(sample, written, self._labels(written, answers), training=training)

    def prompt_length(self, sample: Sample | Query) -> int:
        text = self.template.prompt(sample.id, self._turns(sample, training=False))
        length = len(self.processor.text_ids(text))
        try:
            return length + self.processor.extra_tokens(text, [image_size(image) for image in sample.images])
        except BadImage:
            return length  # whoever encodes it decides what happens to a record without its picture

    def check(self) -> None:
        """Raise ConfigError unless the answers of a trial conversation are found again among its tokens."""
        turns = TRIAL[:2] if self.reads_instruction else TRIAL
        try:
            text, answers = self.template.conversation('of a trial', turns)
            self.template.prompt('of a trial', turns[:1])
            written = self.processor('of a trial', text, [Image.new('RGB', (64, 64))])
        except DataError as error:
            raise ConfigError(Problem(WHERE, str(error))) from error
        for turn, (start, end) in zip(turns[1::2], answers, strict=True):
            found = self.processor.tokenizer.decode([written.ids[place] for place in written.tokens_in(start, end)])
            if not found.strip().startswith(turn.text):
                raise ConfigError(Problem(WHERE, f"the chat template {self.template.source} and the processor "
                                          f"({type(self.processor.inner).__name__}) do not agree: where the answer "
                                          f'{turn.text!r} should be, the tokens say {found!r}.'))

    def _turns(self, sample: Sample | Query, *, training: bool) -> list[Turn]:
        turns = checked_turns(sample.id, sample.turns, training=training)
        return with_image_tags(sample.id, turns, len(sample.images), in_front=False)

    def _check_number(self, sample: Sample | Query, turns: Sequence[Turn]) -> None:
        """Models that put their pictures in front read exactly one; a Q-Former that reads the question, one question."""
        asked = sum(turn.role == 'human' for turn in turns)
        if (len(sample.images) != 1 and not self.processor.expands) or (asked != 1 and self.reads_instruction):
            raise DataError(f'record {sample.id}: {len(sample.images)} pictures and {asked} questions; this model reads one '
                            'picture with one question. Split the record.')

    def _labels(self, written: Written, answers: Sequence[tuple[int, int]]) -> list[int]:
        labels = [IGNORE] * len(written.ids)
        for start, end in answers:
            for position in written.tokens_in(start, end):
                token = written.ids[position]
                if token != self.image_id:
                    labels[position] = token
                if token in self.eos_ids:
                    break  # what a template writes behind it is never generated
        return labels

    def _encoded(self, sample: Sample | Query, written: Written, labels: list[int], *, training: bool) -> Encoded:
        cut = self.max_length if training else None
        ids_L, extras = torch.tensor(written.ids), dict(written.tensors)
        if self.positions is not None:
            extras['position_ids'] = self.positions({'input_ids': ids_L[None], **extras})
        for name in SEQUENCES:
            if name in extras:
                extras[name] = (extras[name] if name == 'position_ids' else extras[name][0])[..., :cut]
        self._check_length(sample, written.ids, cut)
        encoded = Encoded(sample.id, ids_L[:cut], torch.tensor(labels)[:cut], extras.pop('pixel_values', None),
                          extras=extras)
        if sample.images and self.shares_prefix:
            self._mark_prefix(encoded, sample)
        return encoded

    def _mark_prefix(self, encoded: Encoded, sample: Sample | Query) -> None:
        length = int((encoded.input_ids_L == self.image_id).nonzero().max()) + 1
        content = (encoded.input_ids_L[:length].tolist(), [image.key for image in sample.images])
        encoded.shared_prefix_length = length
        encoded.prefix_key = hashlib.sha1(repr(content).encode()).hexdigest()

    def _check_length(self, sample: Sample | Query, ids: Sequence[int], cut: int | None) -> None:
        if cut is not None and self.image_id in ids[cut:]:
            raise DataError(f'record {sample.id}: its {len(sample.images)} pictures do not fit '
                            f'backbone.max_length={self.max_length}.')
        if cut is None and len(ids) >= self.context_length:
            raise DataError(f'record {sample.id}: the prompt has {len(ids)} tokens; the model reads at most '
                            f'{self.context_length}, answer included.')


def collate_extras(items: Sequence[Encoded], *, padding_side: str, pad_id: int) -> Batch:
    """A batch with the extras of its rows: per token padded like the ids, per picture one after the other."""
    batch = collate([Encoded(item.sample_id, item.input_ids_L, item.labels_L) for item in items],
                    padding_side=padding_side, pad_id=pad_id)
    if any(item.pixel_values_P is not None for item in items):
        batch.pixel_values_P = joined([item.pixel_values_P for item in items if item.pixel_values_P is not None])
    length, left = batch.input_ids_BL.shape[1], padding_side == 'left'
    for name in dict.fromkeys(name for item in items for name in item.extras):
        values = [item.extras.get(name) for item in items]
        if name in SEQUENCES:
            rows = [_zeros(item) if value is None else value for item, value in zip(items, values, strict=True)]
            batch.extras[name] = torch.stack([_padded(row, length, left=left) for row in rows])
        else:
            batch.extras[name] = joined([value for value in values if value is not None])
    return batch


def _zeros(item: Encoded) -> Tensor:
    return torch.zeros_like(item.input_ids_L)


def _padded(row: Tensor, length: int, *, left: bool) -> Tensor:
    gap = length - row.shape[-1]
    return F.pad(row, (gap, 0) if left else (0, gap))


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one after the other; other dimensions are padded with zeros to the largest."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    filled = []
    for tensor in tensors:
        gaps = [wanted - have for wanted, have in zip(shape, tensor.shape[1:], strict=True)]
        filled.append(F.pad(tensor, [side for gap in reversed(gaps) for side in (0, gap)]) if any(gaps) else tensor)
    return torch.cat(filled)
