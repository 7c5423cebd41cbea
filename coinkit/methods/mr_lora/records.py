"""The router's training set: some records of each task, written as questions whose answer is the expert's letter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from coinkit.data.references import content_hash
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
