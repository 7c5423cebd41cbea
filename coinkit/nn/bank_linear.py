"""One frozen linear with low-rank blocks beside it: the fused layer behind nearly every method.

`y = base(x) + B_act (gate(x) * (A_act dropout(x)))`: the active blocks are stacked, so that the forward is one GEMM
down to the active rank, one elementwise gate on the rank side and one GEMM up that accumulates onto the base output,
whatever the number of blocks. The base layer's own forward is called, so that it may be quantised. Trainable ranks are
fp32 parameters of this very module (ZeRO-3 gathers a module's own parameters around its forward), cast to the compute
dtype; frozen ranks are plain tensors.

Shape suffixes: D inputs, O outputs, R active ranks, E active blocks, r ranks of one block, N all leading dimensions
flattened, X leading dimensions as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


@dataclass(eq=False)
class Mode:
    """What all layers of a bank share between two forwards: off, or weights per sample (columns in stacking order)."""

    enabled: bool = True
    gate_BE: Tensor | None = None


class BankLinear(nn.Module):
    """Wraps `base` in place. Blocks are changed inside `with layer.edit():`, which re-stacks them at the end."""

    def __init__(self, base: nn.Module, *, mode: Mode, routed: bool, dropout: float, per_expert: bool,
                 dtype: torch.dtype):
        super().__init__()
        self.base = base
        self.in_features, self.out_features = int(base.in_features), int(base.out_features)
        self.mode, self.routed, self.dropout, self.per_expert, self.dtype = mode, routed, dropout, per_expert, dtype
        self.blocks: dict[str, Block] = {}
        self.order: list[str] = []  # stacking order of the active blocks: frozen ones first
        for name in ('bank_A', 'bank_B', 'router'):
            self.register_parameter(name, None)
        self.frozen_A_RD: Tensor | None = None
        self.frozen_B_OR: Tensor | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._seen: tuple[bool, Tensor | None, object] | None = None
        self.stack()
        self.train(base.training)

    # ---- forward

    def forward(self, x_XD: Tensor) -> Tensor:
        y_XO = self.base(x_XD)
        self._check_recompute()
        if not self.order or not self.mode.enabled:
            return y_XO
        device = x_XD.device.type
        if not torch.is_autocast_enabled(device):
            return self._add_update(y_XO, x_XD, x_XD.dtype)
        dtype = x_XD.dtype if x_XD.dtype == torch.float64 else torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):  # cast by hand: the output keeps the base's dtype
            return self._add_update(y_XO, x_XD, dtype)

    def _add_update(self, y_XO: Tensor, x_XD: Tensor, dtype: torch.dtype) -> Tensor:
        x_XD = x_XD.to(dtype)
        h_XR = self._gated(self._down(x_XD, _joined(self.frozen_A_RD, self.bank_A, dtype, dim=0)), x_XD)
        B_OR = _joined(self.frozen_B_OR, self.bank_B, y_XO.dtype, dim=1)
        h_NR = h_XR.to(y_XO.dtype).reshape(-1, h_XR.shape[-1])
        y_NO = torch.addmm(y_XO.reshape(-1, self.out_features), h_NR, B_OR.t(), alpha=self._common_scale)
        return y_NO.view(y_XO.shape)

    def _down(self, x_XD: Tensor, A_RD: Tensor) -> Tensor:
        if not self.training or self.dropout == 0.0:
            return F.linear(x_XD, A_RD)
        if not self.per_expert or len(self.order) == 1:
            return F.linear(F.dropout(x_XD, self.dropout), A_RD)
        num_blocks = len(self.order)  # an independent mask per block: E times the input, the released code's form
        x_END = F.dropout(x_XD.reshape(1, -1, self.in_features).expand(num_blocks, -1, -1), self.dropout)
        if self._equal_ranks:
            h_ENr = torch.bmm(x_END, A_RD.unflatten(0, (num_blocks, -1)).transpose(1, 2))
            h_NR = h_ENr.transpose(0, 1).flatten(1)
        else:  # pad every block to the largest rank, then keep the columns that are real
            h_ENr = torch.bmm(x_END, A_RD[self._padded_rows_Er].transpose(1, 2))
            h_NR = h_ENr.transpose(0, 1).flatten(1)[:, self._real_columns_R]
        return h_NR.view(*x_XD.shape[:-1], -1)

    def _gated(self, h_XR: Tensor, x_XD: Tensor) -> Tensor:
        gate_XE = self._gate(x_XD)
        if gate_XE is None:
            return h_XR if self._scale_E is None else h_XR * self._expand(self._scale_E).to(h_XR.dtype)
        if self._scale_E is not None:
            gate_XE = gate_XE * self._scale_E
        gate_XE = gate_XE.to(h_XR.dtype)
        if self._equal_ranks:
            return (h_XR.unflatten(-1, (len(self.order), -1)) * gate_XE.unsqueeze(-1)).flatten(-2)
        return h_XR * self._expand(gate_XE)

    def _gate(self, x_XD: Tensor) -> Tensor | None:
        """Weights per active block, without the scale; None = ones."""
        if self.routed:
            logits_XE = F.linear(x_XD, self.router.to(x_XD.dtype))
            return logits_XE.softmax(-1, dtype=torch.promote_types(x_XD.dtype, torch.float32))
        gate_BE = self.mode.gate_BE
        if gate_BE is None:
            return None
        if gate_BE.shape[0] not in (1, x_XD.shape[0]):
            raise RunError(f'sample_gate holds weights for {gate_BE.shape[0]} samples, but a layer is applied to '
                           f'{x_XD.shape[0]} rows. Give one row of weights per row of the batch, or a single row.')
        return gate_BE.view(gate_BE.shape[0], *[1] * (x_XD.dim() - 2), gate_BE.shape[1])

    def _expand(self, gate_XE: Tensor) -> Tensor:
        return gate_XE.index_select(-1, self._block_of_rank_R)

    def _check_recompute(self) -> None:
        """Gradient checkpointing repeats the forward inside backward: refuse that if blocks, gate or switch changed."""
        if torch.compiler.is_compiling():
            return
        now = (self.mode.enabled, self.mode.gate_BE, self._layout)
        if torch._C._current_graph_task_id() == -1:
            self._seen = now if torch.is_grad_enabled() else None
        elif self._seen is not None and any(a is not b for a, b in zip(now, self._seen, strict=True)):
            raise RunError('the adapter bank was changed between a forward and its recomputation in backward (gradient'
                           ' checkpointing). Call backward() before set_active(), inside sample_gate() or disabled().')

    # ---- blocks

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


def _joined(frozen: Tensor | None, trainable: Tensor | None, dtype: torch.dtype, *, dim: int) -> Tensor:
    parts = [part.to(dtype) for part in (frozen, trainable) if part is not None]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.to('cpu', copy=True).contiguous()
