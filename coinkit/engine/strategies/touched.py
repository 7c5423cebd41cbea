"""Which trainable parameters the loss of a step has reached, on any rank.

Sharded strategies fill a gradient that nobody computed with zeros, and a method that asked for it would learn nothing
and say nothing. So arrivals are noted here, by hooks and without asking the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Touched:
    """Arrivals of one step. `reduce` ends the step's last backward; until then nothing is `ready`."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], device: torch.device):
        self._names = list(parameters)
        self._device = device
        self._step: set[str] = set()
        self._backward: set[str] = set()
        self._counts: Tensor | None = None
        self._handles = [parameter.register_post_accumulate_grad_hook(partial(self._arrived, name))
                         for name, parameter in parameters.items()]

    def _arrived(self, name: str, parameter: Tensor) -> None:
        self._backward.add(name)

    def begin(self) -> None:
        """A micro-batch's backward begins."""
        self._step |= self._backward
        self._backward.clear()

    def in_this_backward(self) -> frozenset[str]:
        return frozenset(self._backward)

    def reduce(self) -> None:
        """Learn what other ranks have touched; the answer stays on the device until someone is in doubt."""
        self.begin()
        counts = torch.tensor([int(name in self._step) for name in self._names], dtype=torch.int32).to(self._device)
        dist.all_reduce(counts)
        self._counts = counts

    @property
    def ready(self) -> bool:
        return self._counts is not None

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those without a gradient on any rank: all of them outside the window between last backward and step."""
        if self._counts is None:
            return list(names)
        doubtful = set(names) - self._step
        if not doubtful:
            return []
        counts = dict(zip(self._names, self._counts.tolist(), strict=True))
        return [name for name in names if name in doubtful and not counts[name]]

    def clear(self) -> None:
        self._step.clear()
        self._backward.clear()
        self._counts = None

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
