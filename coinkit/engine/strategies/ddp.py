"""Data parallel: every rank holds the whole model and the whole optimizer, and gradients are summed.

Only trainable parameters are exchanged: they are broadcast from rank 0 when a phase begins, so fresh blocks agree, and
their gradients are reduced in the last backward of each step (`buckets.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coinkit.engine.processes import (
    Launch,
    choose_device,
    launch_problems,
    start_process_group,
    stop_process_group,
)
from coinkit.engine.strategies.base import OptimizerFactory
from coinkit.engine.strategies.buckets import GradientBuckets
from coinkit.engine.strategies.one_device import OneDevice, clip, raise_missing, set_lrs
from coinkit.errors import Problem, raise_problems


class DDP(OneDevice):
    """Data parallel: every process holds the model and answers for its share of each global batch.

    `timeout_minutes`: how long a rank waits for the others, who may be generating answers.
    """

    def __init__(self, *, device: str = 'auto', timeout_minutes: float = 120.0):
        super().__init__(device=device)
        self.timeout_minutes = timeout_minutes

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        return launch_problems(cls.__name__)

    def _problems(self) -> list[Problem]:
        return self.preflight()

    def setup(self) -> None:
        raise_problems(self._problems())
        launch = Launch.from_environment()
        self.rank, self.world_size, self.local_rank = launch.rank, launch.world_size, launch.local_rank
        self.device = choose_device(self.device_choice, self.local_rank)
        start_process_group(self.device, timeout_minutes=self.timeout_minutes)

    def teardown(self) -> None:
        if self._module is not None:
            self._abandon()
        stop_process_group()

    def _abandon(self) -> None:
        """End a phase that failed: without `release`, whose collectives would wait for ranks that are gone."""
        self._drop()

    def prepare(self, module: nn.Module, optimizer_factory: OptimizerFactory, param_groups: list[dict[str, Any]], *,
                accumulation: int, grad_clip: float) -> None:
        super().prepare(module, optimizer_factory, param_groups, accumulation=accumulation, grad_clip=grad_clip)
        with torch.no_grad():
            for parameter in self._parameters.values():
                self.broadcast(parameter.data)
        self._buckets = GradientBuckets(self._parameters)

    def release(self) -> None:
        self._buckets.remove()
        del self._buckets
        super().release()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        self._buckets.backward(loss, reduce=last)

    def step(self, lrs: Sequence[float]) -> Tensor:
        set_lrs(self.optimizer, lrs)
        norm = clip(self._parameters.values(), self.grad_clip)
        self.optimizer.step()
        self._buckets.clear()
        return norm

    def missing_grads(self, names: Iterable[str] | None = None) -> list[str]:
        return self._buckets.touched.missing(list(self._select(names)))

    def set_grads(self, grads: Mapping[str, Tensor]) -> None:
        pairs = self._checked(grads)
        raise_missing(() if self._buckets.touched.ready else grads)
        for parameter, value in pairs:
            parameter.grad.copy_(value)
