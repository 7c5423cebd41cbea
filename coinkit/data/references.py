"""References to training rows, and which rows of a task are kept: what a replay memory is made of.

A reference is (task, position, content hash): the row itself stays in its file, and a file that changed is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch

from coinkit.errors import DataError
from coinkit.types import Dataset, Sample


class Reference(NamedTuple):
    """One row of a task's training set."""

    task: str
    index: int
    digest: str


def content_hash(sample: Sample) -> str:
    """Equal for rows of equal id, pictures (by key) and words."""
    turns = [(turn.role, turn.text) for turn in sample.turns]
    parts = (sample.id, [image.key for image in sample.images], turns)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def refer(task: str, dataset: Dataset, indices: Sequence[int]) -> list[Reference]:
    return [Reference(task, index, content_hash(dataset[index])) for index in indices]


def check_unchanged(dataset: Dataset, references: Sequence[Reference]) -> None:
    """Raise DataError at the first reference whose row is gone or holds something else now."""
    for task, index, digest in references:
        if index >= len(dataset):
            found = f'there are only {len(dataset)} rows now'
        elif content_hash(sample := dataset[index]) != digest:
            found = f"the row there (id '{sample.id}') has another id, picture or text now"
        else:
            continue
        raise DataError(f'{task}: row {index} of the training set is kept for replay, and {found}. Put the file back as it '
                        'was when the task was trained, or start anew with --fresh.')


def quota(size: int, count: int, generator: torch.Generator) -> list[int]:
    """`count` of `size` positions at random, none twice; all of them where there are no more."""
    return sorted(torch.randperm(size, generator=generator)[:count].tolist())


def reservoir(slots: int, seen: int, size: int, capacity: int, generator: torch.Generator) -> dict[int, int]:
    """Algorithm R over the next `size` rows of a stream: {slot: position of the row that ends in it}.

    `slots` are filled and `seen` rows have passed before. Row i of the stream (from 0) takes a free slot, or with
    probability capacity / (i + 1) a random one: in the end every row of the stream is kept with the same probability.
    """
    draws = torch.rand(size, generator=generator, dtype=torch.float64).tolist()
    placed: dict[int, int] = {}
    for position, draw in enumerate(draws):
        if slots < capacity:
            slot, slots = slots, slots + 1
        else:
            slot = int(draw * (seen + position + 1))
        if slot < capacity:
            placed[slot] = position
    return placed
