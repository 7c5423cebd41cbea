"""Which samples make up global batch n: a pure function of (seed, task, n), whatever the world size and accumulation.

A `Mix` is the phase's training set: the task's samples followed by whatever methods added (replayed samples...). It is
shuffled once per epoch; batch n is the n-th slice of the endless sequence of epochs, cut at the phase's sample count.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from coinkit.types import Dataset, Sample


class Mix:
    """Several datasets as one, in the order they were added; a dataset may count several times per epoch."""

    def __init__(self, *datasets: Dataset):
        self.parts: list[Dataset] = list(datasets)
        self._ends: list[int] = list(np.cumsum([len(part) for part in datasets])) if datasets else []

    def add(self, dataset: Dataset, *, repeat: int = 1) -> None:
        """Append a dataset, seen `repeat` times per epoch."""
        for _ in range(repeat):
            self.parts.append(dataset)
            self._ends.append((self._ends[-1] if self._ends else 0) + len(dataset))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(' '.join(part.fingerprint for part in self.parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        part = bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return self.parts[part][int(index - start)]


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
    """Positions of global batch n, and the share of each rank and micro-batch."""

    def __init__(self, size: int, *, batch_size: int, num_samples: int, seed: int):
        self.size, self.batch_size, self.num_samples, self.seed = size, batch_size, num_samples, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.size)
            self._epoch = epoch
        return self._order

    def batch(self, n: int) -> list[int]:
        """Positions of global batch n; the last one of a phase may be short."""
        positions = range(n * self.batch_size, min((n + 1) * self.batch_size, self.num_samples))
        return [int(self._permutation(p // self.size)[p % self.size]) for p in positions]

    def share(self, n: int, *, rank: int, world_size: int, micro_batch_size: int, accumulation: int) -> list[list[int]]:
        """Positions of each micro-batch of one rank; a short global batch leaves some micro-batches short or empty."""
        batch = self.batch(n)
        starts = [(k * world_size + rank) * micro_batch_size for k in range(accumulation)]
        return [batch[start:start + micro_batch_size] for start in starts]
