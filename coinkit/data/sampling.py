"""Which samples make up global batch n: a pure function of (seed, task, n), whatever the world size and accumulation.

A `Mix` is the phase's training set: the task's samples followed by whatever methods added (replayed samples...). It is
shuffled once per epoch; batch n is the n-th slice of the endless sequence of epochs, cut at the phase's sample count.
Datasets may also be given a fixed number of places in every batch; each of these is an endless sequence of its own.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from coinkit.types import Dataset, Sample


class Mix:
    """Several datasets as one, in the order they were added; a dataset may count several times per epoch.

    `own` counts the samples that are shuffled together; `places` lists the others: (samples, places in every batch).
    """

    def __init__(self, *datasets: Dataset):
        self.parts: list[Dataset] = list(datasets)
        self._beside: list[tuple[Dataset, int]] = []
        self._lay_out()

    def add(self, dataset: Dataset, *, repeat: int = 1) -> None:
        """Append a dataset, seen `repeat` times per epoch."""
        self.parts += [dataset] * repeat
        self._lay_out()

    def add_to_every_batch(self, dataset: Dataset, count: int) -> None:
        """Give a dataset `count` places of every global batch; the samples shuffled together share the others."""
        self._beside.append((dataset, count))
        self._lay_out()

    def _lay_out(self) -> None:
        self.datasets = [*self.parts, *(dataset for dataset, _ in self._beside)]
        self.own = sum(len(part) for part in self.parts)
        self.places = [(len(dataset), count) for dataset, count in self._beside]
        self._ends = [int(end) for end in np.cumsum([len(part) for part in self.datasets])]

    @property
    def fingerprint(self) -> str:
        parts = [part.fingerprint for part in self.datasets] + [f'{count} per batch' for _, count in self._beside]
        return hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        part = bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return self.datasets[part][int(index - start)]


class Subset:
    """Some samples of a dataset, by position."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, list(indices)

    @property
    def fingerprint(self) -> str:
        text = f'{self.dataset.fingerprint} {self.indices}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


class BatchSampler:
    """Positions of global batch n, and the share of each rank and micro-batch.

    `size` and `num_samples` speak of a mix's own samples; `places` are its datasets that have places in every batch.
    """

    def __init__(self, size: int, *, batch_size: int, num_samples: int, seed: int, places: Sequence[tuple[int, int]] = ()):
        self.size, self.num_samples, self.seed, self.places = size, num_samples, seed, places
        self.own_size = batch_size - sum(count for _, count in places)
        assert self.own_size >= 1, f'{places} leave no place in a batch of {batch_size}'
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def batch(self, n: int) -> list[int]:
        """Positions of global batch n; the last one of a phase may be short."""
        own = range(n * self.own_size, min((n + 1) * self.own_size, self.num_samples))
        batch, start = self._positions(0, self.size, own), self.size
        for number, (size, count) in enumerate(self.places, 1):
            batch += [start + p for p in self._positions(number, size, range(n * count, (n + 1) * count))]
            start += size
        if self.places:  # else one rank would get all of them
            batch = [batch[i] for i in _order(self.seed + len(self.places) + 1, n, len(batch))]
        return batch

    def _positions(self, number: int, size: int, places: range) -> list[int]:
        """Places of an endless sequence of epochs over `size` samples, each epoch in an order of its own."""
        return [int(self._permutation(number, size, place // size)[place % size]) for place in places]

    def _permutation(self, number: int, size: int, epoch: int) -> np.ndarray:
        if self._orders.get(number, (-1,))[0] != epoch:
            self._orders[number] = (epoch, _order(self.seed + number, epoch, size))
        return self._orders[number][1]

    def share(self, n: int, *, rank: int, world_size: int, micro_batch_size: int, accumulation: int) -> list[list[int]]:
        """Positions of each micro-batch of one rank; a short global batch leaves some micro-batches short or empty."""
        batch = self.batch(n)
        starts = [(k * world_size + rank) * micro_batch_size for k in range(accumulation)]
        return [batch[start:start + micro_batch_size] for start in starts]


def _order(seed: int, number: int, size: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, number])).permutation(size)
