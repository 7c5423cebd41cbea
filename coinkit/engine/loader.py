"""From sample positions to micro-batches: read, decode and tokenise in worker threads, in order, with bounded look-ahead.

A picture that cannot be used stops the run, or costs its sample and is counted, as `on_bad_image` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from coinkit.data.batch import Batch, Encoded
from coinkit.data.images import BadImagePolicy
from coinkit.data.prefetch import prefetch
from coinkit.data.sampling import BatchSampler
from coinkit.errors import BadImage, DataError
from coinkit.types import Dataset, Sample


def encode_samples(backbone: Any, samples: Sequence[Sample], *, training: bool,
                   policy: BadImagePolicy | None = None) -> list[Encoded]:
    """Encode samples; those the policy skips are missing from the result."""
    encoded = []
    for sample in samples:
        try:
            encoded.append(backbone.encode(sample, training=training))
        except BadImage as error:
            kept = (policy or BadImagePolicy('error')).resolve(sample, error)
            if kept is not None:
                encoded.append(backbone.encode(kept, training=training))
    return encoded


class MicroBatches:
    """The micro-batches of one rank, step by step, starting at any step."""

    def __init__(self, backbone: Any, dataset: Dataset, sampler: BatchSampler, *, rank: int, world_size: int,
                 micro_batch_size: int, accumulation: int, workers: int, policy: BadImagePolicy):
        self.backbone, self.dataset, self.sampler, self.policy = backbone, dataset, sampler, policy
        self.share = dict(rank=rank, world_size=world_size, micro_batch_size=micro_batch_size,
                          accumulation=accumulation)
        self.workers = workers

    def steps(self, start: int, stop: int) -> Iterator[list[Batch]]:
        """The micro-batches of each optimizer step. A micro-batch without samples is a real batch without labels."""
        jobs = (self._job(step, positions) for step in range(start, stop)
                for positions in self.sampler.share(step, **self.share))
        stream = prefetch(jobs, workers=self.workers, depth=max(4, 2 * self.workers))
        for _ in range(start, stop):
            yield [next(stream) for _ in range(self.share['accumulation'])]

    def _job(self, step: int, positions: list[int]):
        return lambda: self._batch(step, positions)

    def _batch(self, step: int, positions: list[int]) -> Batch:
        encoded = self._encode(positions)
        if encoded:
            return self.backbone.collate(encoded, padding_side='right')
        for position in self.sampler.batch(step):
            encoded = self._encode([position])
            if encoded:
                return self.backbone.collate(encoded, padding_side='right').without_labels()
        raise DataError(f'global batch {step}: every sample of it was skipped for its image ({self.policy.first[0]}).')

    def _encode(self, positions: Sequence[int]) -> list[Encoded]:
        return encode_samples(self.backbone, [self.dataset[i] for i in positions], training=True, policy=self.policy)
