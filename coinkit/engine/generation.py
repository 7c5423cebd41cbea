"""Batched greedy generation whose answers equal those of a loop over single prompts.

Prompts of similar length share a batch, longest first, under a budget of padded tokens; the plan depends on lengths and
budget alone. Rows are padded on the left; a row that has answered leaves its batch when enough have, and the cache
shrinks with it. Tokens reach the host in blocks of `check_every` steps: one wait for the device per block.
Shape suffixes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coinkit.backbones.base import Backbone
from coinkit.data.batch import Batch, Encoded
from coinkit.data.prefetch import prefetch
from coinkit.types import Query, Sample

CPU_TOKEN_BUDGET = 4096
COMPACT_BELOW = 0.75  # finished rows leave the cache when no more than this share still writes
OnBatch = Callable[[list[tuple[int, str]]], None]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer: `length` in tokens, what encodes it (called in a worker thread) and what reads the answer."""

    index: int
    length: int
    encode: Callable[[], Encoded]
    max_new_tokens: int
    read_answer: Callable[[str], str] = str


def requests_for(backbone: Backbone, samples: Sequence[Sample | Query], *, max_new_tokens: int) -> list[Request]:
    """Requests for samples by position; reads their text and opens no picture."""
    return [Request(index, backbone.prompt_length(sample), partial(backbone.encode, sample, training=False),
                    max_new_tokens, partial(backbone.read_answer, sample=sample)) for index, sample in enumerate(samples)]


def plan_batches(lengths: Sequence[int], *, token_budget: int) -> list[list[int]]:
    """Positions grouped into batches, longest first: rows times longest row stays within the budget.

    A prompt longer than the budget is a batch of its own.
    """
    if token_budget < 1:
        raise ValueError(f'token_budget is {token_budget}, must be at least 1')
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def default_token_budget(backbone: Backbone) -> int:
    """Padded tokens per batch: a constant on a CPU, what half of the free device memory holds on a GPU.

    Per prompt token: its keys and values, which growing and shrinking the cache copies once, and the prefill's
    widest activations.
    """
    if backbone.device.type != 'cuda':
        return CPU_TOKEN_BUDGET
    sizes = backbone.decoder_sizes()
    per_token = 2 * (sizes.kv_values_per_token() * 5 // 4 + 8 * sizes.hidden + 4 * sizes.intermediate)
    return max(CPU_TOKEN_BUDGET, torch.cuda.mem_get_info(backbone.device)[0] // 2 // per_token)


def generate(backbone: Backbone, requests: Sequence[Request], *, plan: Sequence[Sequence[int]], on_batch: OnBatch,
             workers: int = 2, check_every: int | None = None) -> None:
    """Answer the requests of `plan` (all batches of `plan_batches`, or some); `on_batch` gets each batch's (index, text)
    pairs as it ends.

    `check_every`: decode steps between two looks at the tokens; None = 1 on a CPU, 4 on a device that runs ahead.
    """
    steps = (1 if backbone.device.type == 'cpu' else 4) if check_every is None else check_every
    depth = 2 * max((len(positions) for positions in plan), default=1)  # the next batch is ready when this one ends
    jobs = (requests[position].encode for positions in plan for position in positions)
    with evaluating(backbone), closing(prefetch(jobs, workers, depth)) as encoded:
        for positions in plan:
            chosen = [requests[position] for position in positions]
            batch = backbone.collate([next(encoded) for _ in chosen], padding_side='left')
            answers = decode_batch(backbone, batch, [one.max_new_tokens for one in chosen], check_every=steps)
            on_batch([(one.index, one.read_answer(backbone.decode(ids)))
                      for one, ids in zip(chosen, answers, strict=True)])


@torch.no_grad()
def decode_batch(backbone: Backbone, batch: Batch, limits: Sequence[int], *, check_every: int = 1) -> list[list[int]]:
    """Greedy ids of each left-padded row, up to its limit or the end of the context, without the eos."""
    used = batch.attention_mask_BL.sum(1).tolist()
    room = [min(limit, backbone.context_length - length) for limit, length in zip(limits, used, strict=True)]
    answers = _Answers(room, backbone.eos_ids)
    logits_BV, cache = backbone.prefill(batch)
    rows = _Rows(backbone, cache, batch.attention_mask_BL.to(backbone.device))
    ids_B = logits_BV.argmax(-1)
    while answers.writing:
        block = [ids_B]
        while len(block) < min(check_every, answers.most_room()):
            block.append(rows.step(block[-1]))
        answers.take(torch.stack(block, 1).tolist(), rows.numbers)  # the one wait for the device
        if answers.writing:
            ids_B = rows.step(rows.shrink(answers.writing, block[-1]))
    return answers.ids


class _Answers:
    """What each row has written, on the host, and the rows that still write."""

    def __init__(self, room: Sequence[int], eos_ids: frozenset[int]):
        self.ids: list[list[int]] = [[] for _ in room]
        self.room, self.eos_ids = room, eos_ids
        self.writing = {row for row, left in enumerate(room) if left > 0}

    def most_room(self) -> int:
        return max(self.room[row] - len(self.ids[row]) for row in self.writing)

    def take(self, block: Sequence[Sequence[int]], numbers: Sequence[int]) -> None:
        for row, tokens in zip(numbers, block, strict=True):
            for token in tokens:
                if row not in self.writing:
                    break
                if token in self.eos_ids:
                    self.writing.remove(row)
                    break
                self.ids[row].append(token)
                if len(self.ids[row]) == self.room[row]:
                    self.writing.remove(row)


class _Rows:
    """The rows on the device: their cache, their mask and the number of each in the batch."""

    def __init__(self, backbone: Backbone, cache: Any, mask_BL: Tensor):
        self.backbone, self.cache, self.mask_BL = backbone, cache, mask_BL
        self.numbers = list(range(len(mask_BL)))

    def step(self, ids_B: Tensor) -> Tensor:
        self.mask_BL = torch.cat([self.mask_BL, self.mask_BL.new_ones(len(self.numbers), 1)], 1)
        return self.backbone.decode_step(ids_B, self.mask_BL, self.cache).argmax(-1)

    def shrink(self, writing: Collection[int], ids_B: Tensor) -> Tensor:
        """Drop the rows that have answered when it pays; returns the last ids of those that stay."""
        kept = [place for place, number in enumerate(self.numbers) if number in writing]
        if len(kept) > COMPACT_BELOW * len(self.numbers):
            return ids_B
        index = torch.tensor(kept, device=ids_B.device)
        self.cache.batch_select_indices(index)
        self.mask_BL, self.numbers = self.mask_BL[index], [self.numbers[place] for place in kept]
        return ids_B[index]


@contextmanager
def evaluating(backbone: Backbone) -> Iterator[None]:
    """Eval mode inside; the mode it had afterwards."""
    was_training = backbone.model.training
    backbone.model.eval()
    try:
        yield
    finally:
        backbone.model.train(was_training)
