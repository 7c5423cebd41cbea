"""Learning rates and step counts: pure functions of the step, so that resuming needs the step and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coinkit.config.schema import Schedule


@dataclass(frozen=True, kw_only=True)
class PhaseSchedule(Schedule):
    """The run's schedule with the overrides of one task and one phase, and what follows from it."""

    @classmethod
    def of(cls, base: Schedule, *overrides: Mapping[str, Any]) -> PhaseSchedule:
        """Each mapping overrides single fields; its keys were checked when the config was read."""
        merged = dict(vars(base))
        for layer in overrides:
            if 'epochs' in layer and 'steps' not in layer:
                merged['steps'] = None  # a later `epochs` wins over an earlier `steps`
            merged.update(layer)
        return cls(**merged)

    def num_samples(self, size: int, *, taken: int = 0) -> int:
        """Samples of a training set of `size` that the phase sees; `taken` places of each batch hold other samples."""
        return self.steps * (self.global_batch_size - taken) if self.steps is not None else math.ceil(self.epochs * size)

    def num_steps(self, size: int, *, taken: int = 0) -> int:
        return math.ceil(self.num_samples(size, taken=taken) / (self.global_batch_size - taken))

    def num_warmup(self, steps: int) -> int:
        return self.warmup_steps if self.warmup_steps is not None else math.ceil(self.warmup_ratio * steps)

    def lr_factor(self, step: int, steps: int) -> float:
        """Factor on the peak rate at optimizer step `step` (from 0) of `steps`."""
        return lr_factor(self.lr_schedule, step, steps, self.num_warmup(steps))

    def accumulation(self, world_size: int) -> int:
        """Micro-batches per optimizer step on each rank."""
        return math.ceil(self.global_batch_size / (self.micro_batch_size * world_size))


def lr_factor(kind: str, step: int, steps: int, warmup: int) -> float:
    """Linear warm-up from 0, then cosine to 0, linear to 0 or constant; `warmup_log` is DeepSpeed's WarmupLR, log type."""
    if kind == 'warmup_log':  # ln(t+1)/ln(Nw), at most 1
        return math.log(step + 1) / math.log(max(2, warmup)) if step < warmup else 1.0
    if step < warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if kind == 'cosine':
        return 0.5 * (1 + math.cos(math.pi * progress))
    if kind == 'linear':
        return 1 - progress
    assert kind == 'constant', kind  # the config check allows nothing else
    return 1.0
