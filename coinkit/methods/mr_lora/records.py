"""The router's training set R: some records of each task, kept by reference, asked with the expert's letter as answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from coinkit.data.references import Reference, check_unchanged, content_hash, quota, refer
from coinkit.methods.mr_lora.pool import Pool
from coinkit.types import Sample


class RoutingRecords:
    """Samples made once; their pictures are opened when they are needed."""

    def __init__(self, samples: Sequence[Sample]):
        self.samples = list(samples)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(' '.join(map(content_hash, self.samples)).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def draw_records(state: Any, index: int, count: int) -> list[Reference]:
    """The task's part of R: the seed and the task say which."""
    name, rows = state.stream[index].name, state.train_samples(index)
    return refer(name, rows, quota(len(rows), count, state.generator('MRLoRA', name)))


def routing_records(state: Any, kept: Mapping[str, Sequence[Reference]], pool: Pool) -> RoutingRecords:
    """R_k: the kept records of every task so far, as questions to the router."""
    questions, letters = pool.questions(state, state.index + 1), pool.letters_of(state.stream)
    samples = []
    for index, task in enumerate(state.stream[:state.index + 1]):
        rows = state.train_samples(index)
        check_unchanged(rows, kept[task.name])
        samples += [questions.teach(rows[one.index], letters[task.name]) for one in kept[task.name]]
    if questions.shortened:
        state.reporter.say(f'{state.task.name}: {questions.shortened} questions were cut to fit the routing prompt.')
    return RoutingRecords(samples)
