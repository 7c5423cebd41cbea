"""The moving average of stacked tensors: blocks that lie in one tensor have a weight each, as if they were tensors.

A bank keeps the A's of its blocks below each other and the B's beside each other. Norms are taken along the other
dimension first, one number per rank, then summed over each block's ranks: no loop over blocks. Tensors alike are handled
together; on a GPU as one tensor, in a few launches and without a look at a value, on a CPU a tensor at a time.
Shape suffixes: K tensors alike, R ranks of all blocks, E blocks, A and B the two dimensions of a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2 ** 24  # numbers of tensors alike that are put together on a GPU: what a step needs for a moment
CACHED = 2 ** 20  # the same on a CPU, whose cache holds them
Share = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Parts:
    """Blocks of these sizes, one behind the other along `dim` of a tensor with two dimensions."""

    dim: int
    sizes: tuple[int, ...]


class StackedAverage:
    """theta* of tensors with parts. `average` and `last_grads` are the owner's and hold these tensors beside others."""

    def __init__(self, parts: Mapping[str, Parts], share: Share, *, keeps_way: bool, rounded: torch.dtype | None):
        self.parts, self.share, self.keeps_way, self.rounded = dict(parts), share, keeps_way, rounded
        self.way_K: Tensor | None = None  # ||theta_{t-1} - theta*_{t-1}|| of all blocks
        self.on_cpu: bool | None = None  # None: as the tensors say
        self._chunks: list[Chunk] = []

    def read_gradients(self, grads: Mapping[str, Tensor], last_grads: dict[str, Tensor]) -> None:
        """Norms of g_t and of its change; `last_grads` become g_t."""
        for chunk in self._chunks_for(grads):
            chunk.read_gradients(grads, last_grads)

    def update(self, theta: Mapping[str, Tensor], average: dict[str, Tensor], way: float) -> Tensor:
        """theta*_t; returns the share of every block. `way` stands in where no distance is kept."""
        alphas, ways, before = [], [], self.way_K
        for chunk in self._chunks_for(theta):
            way_KE = torch.full_like(chunk.grad_KE, way)
            if self.keeps_way and before is not None:
                way_KE, before = before[:way_KE.numel()].view_as(way_KE), before[way_KE.numel():]
            alpha_KE, after_KE = chunk.update(theta, average, way_KE, self)
            alphas.append(alpha_KE.flatten())
            ways.append(after_KE.flatten())
        if self.keeps_way:
            self.way_K = torch.cat(ways)
        return torch.cat(alphas)

    def forget(self) -> None:
        """The owner's tensors are others now."""
        self._chunks = []

    def _chunks_for(self, tensors: Mapping[str, Tensor]) -> list[Chunk]:
        if not self._chunks:
            first = tensors[next(iter(self.parts))]
            on_cpu = first.device.type == 'cpu' if self.on_cpu is None else self.on_cpu
            kind, most = (Chunk, CACHED) if on_cpu else (DeviceChunk, CHUNK)
            self._chunks = [kind(names, self.parts[names[0]], first.device) for names in _alike(self.parts, tensors, most)]
        return self._chunks


def _alike(parts: Mapping[str, Parts], tensors: Mapping[str, Tensor], numbers: int) -> Iterator[list[str]]:
    """Names of tensors with one shape and one division, of so many numbers at a time."""
    groups: dict[tuple[Parts, torch.Size], list[str]] = {}
    for name, each in parts.items():
        groups.setdefault((each, tensors[name].shape), []).append(name)
    for (_, shape), names in groups.items():
        most = max(1, numbers // shape.numel())
        yield from (names[start:start + most] for start in range(0, len(names), most))


class Chunk:
    """Tensors alike on a CPU: one after the other, while it is in the cache."""

    def __init__(self, names: Sequence[str], parts: Parts, device: torch.device):
        self.names, self.dim = list(names), parts.dim
        block_of_rank_R = torch.tensor([number for number, size in enumerate(parts.sizes) for _ in range(size)])
        self._block_of_rank_R = block_of_rank_R.to(device)
        self._ranks_of_block_ER = (block_of_rank_R == torch.arange(len(parts.sizes))[:, None]).to(device)
        self.grad_KE = self.change_KE = torch.empty(0)  # between the two calls of a step
        self._place: Tensor | None = None

    def read_gradients(self, grads: Mapping[str, Tensor], last_grads: dict[str, Tensor]) -> None:
        grad, change = [], []
        for name in self.names:
            this, last = grads[name], last_grads[name]
            change.append(last.sub_(this).abs_().sum(1 - self.dim))
            grad.append(torch.abs(this, out=last).sum(1 - self.dim))
            last.copy_(this)
        self.grad_KE, self.change_KE = self._by_block(torch.stack(grad)), self._by_block(torch.stack(change))

    def update(self, theta: Mapping[str, Tensor], average: dict[str, Tensor], way_KE: Tensor,
               how: StackedAverage) -> tuple[Tensor, Tensor]:
        """Shares, and distances after the step where they are kept."""
        alpha_KE = how.share(self._distances(theta, average), self.grad_KE, self.change_KE, way_KE)
        for name, alpha_R in zip(self.names, alpha_KE[:, self._block_of_rank_R], strict=True):
            average[name].lerp_(theta[name], alpha_R[:, None] if self.dim == 0 else alpha_R)
            if how.rounded is not None:
                average[name].copy_(average[name].to(how.rounded))
        return alpha_KE, self._distances(theta, average) if how.keeps_way else alpha_KE

    def _distances(self, theta: Mapping[str, Tensor], average: Mapping[str, Tensor]) -> Tensor:
        return self._by_block(torch.stack([self._distance_R(theta[name], average[name]) for name in self.names]))

    def _distance_R(self, this: Tensor, other: Tensor) -> Tensor:
        if self._place is None:
            self._place = torch.empty_like(this)
        return torch.sub(this, other, out=self._place).abs_().sum(1 - self.dim)

    def _by_block(self, sums_KR: Tensor) -> Tensor:
        return torch.where(self._ranks_of_block_ER, sums_KR[:, None], 0.0).sum(-1)  # a block that is inf or nan stays alone


class DeviceChunk(Chunk):
    """The same on a GPU: the tensors are one there. What the owner holds are views of it."""

    _average_KAB: Tensor | None = None
    _last_KAB: Tensor | None = None

    def read_gradients(self, grads: Mapping[str, Tensor], last_grads: dict[str, Tensor]) -> None:
        if self._last_KAB is None:
            self._last_KAB = torch.stack([last_grads[name] for name in self.names])
        now_KAB = torch.stack([grads[name] for name in self.names])
        self.grad_KE, self.change_KE = self._norm(now_KAB), self._norm(now_KAB - self._last_KAB)
        self._last_KAB = self._shown(now_KAB, last_grads)

    def update(self, theta: Mapping[str, Tensor], average: dict[str, Tensor], way_KE: Tensor,
               how: StackedAverage) -> tuple[Tensor, Tensor]:
        if self._average_KAB is None:
            self._average_KAB = self._shown(torch.stack([average[name] for name in self.names]), average)
        mean_KAB, now_KAB = self._average_KAB, torch.stack([theta[name] for name in self.names])
        alpha_KE = how.share(self._norm(now_KAB - mean_KAB), self.grad_KE, self.change_KE, way_KE)
        mean_KAB.lerp_(now_KAB, alpha_KE[:, self._block_of_rank_R].unsqueeze(2 - self.dim))
        if how.rounded is not None:
            mean_KAB.copy_(mean_KAB.to(how.rounded))
        return alpha_KE, self._norm(now_KAB - mean_KAB) if how.keeps_way else alpha_KE

    def _norm(self, values_KAB: Tensor) -> Tensor:
        return self._by_block(torch.linalg.vector_norm(values_KAB, 1, dim=2 - self.dim))

    def _shown(self, values_KAB: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        tensors.update(zip(self.names, values_KAB.unbind(), strict=True))
        return values_KAB
