"""The blocks of one linear and where their values live: masters on the CPU, active blocks stacked on the device.

Trainable ranks are parameters of the module itself (ZeRO-3 gathers a module's own parameters around its forward),
frozen ranks plain tensors in the base's dtype. Every change of blocks goes through `edit`, which brings all values home
and stacks the active ones again, bit for bit.
Shape suffixes: D inputs, O outputs, R active ranks, E active blocks, r ranks of one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from coinkit.errors import RunError

PLAIN_TENSORS = ('frozen_A_RD', 'frozen_B_OR', '_scale_E', '_block_of_rank_R', '_padded_rows_Er', '_real_columns_R')


@dataclass
class Block:
    """A low-rank update of one linear. The tensors are CPU masters; None while the values live in the parameters."""

    rank: int
    scale: float
    trainable: bool
    active: bool
    A_rD: Tensor | None
    B_Or: Tensor | None
    router_D: Tensor | None = None

    @property
    def live(self) -> bool:
        return self.trainable and self.active


class BlockStack(nn.Module):
    """A linear with its blocks. Parameters `bank_A` (R_t, D), `bank_B` (O, R_t) and, if routed, `router` (E, D)."""

    def __init__(self, base: nn.Module, *, routed: bool, dtype: torch.dtype):
        super().__init__()
        self.base, self.routed, self.dtype = base, routed, dtype
        self.in_features, self.out_features = int(base.in_features), int(base.out_features)
        self.blocks: dict[str, Block] = {}
        self.order: list[str] = []  # stacking order of the active blocks: frozen ones first
        for name in ('bank_A', 'bank_B', 'router'):
            self.register_parameter(name, None)
        self.frozen_A_RD: Tensor | None = None
        self.frozen_B_OR: Tensor | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.stack()

    @contextmanager
    def edit(self) -> Iterator[dict[str, Block]]:
        """Yields the blocks with every value in its CPU master; stacks the active ones again afterwards."""
        for block, tensors in [(self.blocks[name], self.read(name)) for name in self.blocks]:
            block.A_rD, block.B_Or, block.router_D = tensors
        try:
            yield self.blocks
        finally:
            self.stack()

    def read(self, name: str, values: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """A, B and router row of a block on the CPU. `values` (gathered by a strategy) stand in for the parameters."""
        block = self.blocks[name]
        A_rD, B_Or, router_D = block.A_rD, block.B_Or, block.router_D
        if block.live:
            at = self._offset(name)
            A_rD = _to_cpu(self._parameter('bank_A', values)[at:at + block.rank])
            B_Or = _to_cpu(self._parameter('bank_B', values)[:, at:at + block.rank])
        if self.routed and block.active:
            router_D = _to_cpu(self._parameter('router', values)[self.order.index(name)])
        assert A_rD is not None and B_Or is not None
        return A_rD, B_Or, router_D

    def _offset(self, name: str) -> int:
        live = [other for other in self.order if self.blocks[other].live]
        return sum(self.blocks[other].rank for other in live[:live.index(name)])

    def _parameter(self, name: str, values: Mapping[str, Tensor] | None) -> Tensor:
        tensor = getattr(self, name) if values is None else values[name]
        if tuple(tensor.shape) != self._shapes[name]:
            raise RunError(f'{name} has shape {tuple(tensor.shape)} instead of {self._shapes[name]}: parameters are '
                           'partitioned (ZeRO-3). Release the strategy first, or pass its full_params() as `values`.')
        return tensor.detach()

    def stack(self) -> None:
        """Puts the active blocks on the device. Parameters stay the same objects while the trainable shapes do."""
        active = [name for name, block in self.blocks.items() if block.active]
        frozen = [name for name in active if not self.blocks[name].trainable]
        live = [name for name in active if self.blocks[name].trainable]
        self.order = frozen + live
        self._layout = object()
        device, frozen_dtype = self._home()
        self._set('bank_A', [self.blocks[name].A_rD for name in live], dim=0, device=device)
        self._set('bank_B', [self.blocks[name].B_Or for name in live], dim=1, device=device)
        if self.routed:
            self._set('router', [self.blocks[name].router_D[None] for name in self.order], dim=0, device=device)
            if self.router is not None:
                self.router.requires_grad_(bool(live))
        self.frozen_A_RD = self.frozen_B_OR = None
        if frozen:
            self.frozen_A_RD = torch.cat([self.blocks[name].A_rD for name in frozen]).to(device, frozen_dtype)
            self.frozen_B_OR = torch.cat([self.blocks[name].B_Or for name in frozen], 1).to(device, frozen_dtype)
        self._set_gate_constants(device)
        for block in self.blocks.values():  # from here on the parameters hold the values
            if block.live:
                block.A_rD = block.B_Or = None
            if block.active:
                block.router_D = None

    def _set(self, name: str, parts: list[Tensor], *, dim: int, device: torch.device) -> None:
        if not parts:
            setattr(self, name, None)
            return
        value, old = torch.cat(parts, dim), getattr(self, name)
        self._shapes[name] = tuple(value.shape)
        if old is not None and old.shape == value.shape and old.device == device:
            old.data.copy_(value)
        else:
            setattr(self, name, nn.Parameter(value.to(device, self.dtype)))

    def _set_gate_constants(self, device: torch.device) -> None:
        ranks = [self.blocks[name].rank for name in self.order]
        scales = [self.blocks[name].scale for name in self.order]
        self._equal_ranks = len(set(ranks)) <= 1
        self._common_scale = scales[0] if len(set(scales)) == 1 else 1.0
        self._scale_E = None if len(set(scales)) <= 1 else torch.tensor(scales, dtype=self.dtype, device=device)
        ranks_E = torch.tensor(ranks, dtype=torch.long)
        self._block_of_rank_R = torch.arange(len(ranks)).repeat_interleave(ranks_E).to(device)
        starts = (ranks_E.cumsum(0) - ranks_E)[:, None]
        steps_Er = torch.arange(max(ranks, default=0)).expand(len(ranks), -1)
        real_Er = steps_Er < ranks_E[:, None]
        self._padded_rows_Er = torch.where(real_Er, starts + steps_Er, 0).to(device)
        self._real_columns_R = real_Er.flatten().nonzero().squeeze(1).to(device)

    def _home(self) -> tuple[torch.device, torch.dtype]:
        """The base's device, and the dtype of frozen stacks: the base's if it is a plain float (masters stay fp32)."""
        first = next(chain(self.base.parameters(), self.base.buffers()), torch.empty(0, dtype=self.dtype))
        plain = first.dtype in (torch.bfloat16, torch.float16, torch.float32) and self.dtype == torch.float32
        return first.device, first.dtype if plain else self.dtype

    def _apply(self, fn, recurse: bool = True):
        """Moves everything, but keeps the bank's dtype: `model.to(bfloat16)` must not round the fp32 masters.

        The plain tensors move too; they are no buffers because DDP would broadcast those at every step.
        """
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        if recurse:
            self.base._apply(fn)
        super()._apply(keep_dtype, recurse=False)
        for name in PLAIN_TENSORS:
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, keep_dtype(tensor))
        return self


def _to_cpu(tensor: Tensor) -> Tensor:
    if tensor.is_meta:  # a plan: shapes without values
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    return tensor.to('cpu', copy=True).contiguous()
