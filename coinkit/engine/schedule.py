"""Learning rates and step counts: pure functions of the step, so that resuming needs the step and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """How one phase is trained; a task or a phase may override any field."""

    epochs: float = 1.0
    steps: int | None = None  # optimizer steps; overrides epochs
    global_batch_size: int = 128  # samples per optimizer step, over all ranks and micro-batches
    micro_batch_size: int = 8  # samples per forward on one rank
    lr: float = 2e-4
    projector_lr: float | None = None  # None = lr
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup_ratio: float = 0.03  # of the steps
    warmup_steps: int | None = None  # overrides warmup_ratio
    lr_schedule: str = 'cosine'  # cosine | linear | constant | warmup_log (DeepSpeed's WarmupLR)
    grad_clip: float = 1.0  # 0 = off
    loss_norm: str = 'tokens'  # tokens | microbatch (the research code's mean of means)
    gradient_checkpointing: bool = False

    @classmethod
    def of(cls, *layers: Mapping[str, Any]) -> Schedule:
        """Defaults overlaid by each mapping in turn; keys were checked when the config was read."""
        merged: dict[str, Any] = {}
        for layer in layers:
            if 'epochs' in layer and 'steps' not in layer:
                merged.pop('steps', None)  # a later `epochs` wins over an earlier `steps`
            merged.update(layer)
        names = {field.name for field in fields(cls)}
        known = cls(**{key: value for key, value in merged.items() if key in names})
        return replace(known, betas=tuple(known.betas))

    def num_samples(self, size: int) -> int:
        """Samples seen by the phase on a training set of `size`."""
        return self.steps * self.global_batch_size if self.steps is not None else math.ceil(self.epochs * size)

    def num_steps(self, size: int) -> int:
        return math.ceil(self.num_samples(size) / self.global_batch_size)

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
