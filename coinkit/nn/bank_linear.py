"""One frozen linear with low-rank blocks beside it: the fused layer behind nearly every method.

`y = base(x) + B_act (gate(x) * (A_act dropout(x)))`: the active blocks are stacked, so that the forward is one GEMM
down to the active rank, one elementwise gate on the rank side and one GEMM up that accumulates onto the base output,
whatever the number of blocks. The base layer's own forward is called, so that it may be quantised. Parameters are fp32
and cast to the compute dtype here.

Shape suffixes: D inputs, O outputs, R active ranks, E active blocks, r ranks of one block, N all leading dimensions
flattened, X leading dimensions as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coinkit.errors import RunError
from coinkit.nn.bank_stack import BlockStack

Factors = tuple[Tensor, Tensor, Tensor | None]  # A (R, D), B (O, R), router (E, D)


@dataclass(eq=False)
class Mode:
    """What all layers of a bank share between two forwards."""

    enabled: bool = True
    gate_BE: Tensor | None = None  # weights per sample, columns in stacking order
    fixed: bool = False  # the parameters do not change: keep their cast, joined form


class BankLinear(BlockStack):
    """Replaces `base` in the model."""

    def __init__(self, base: nn.Module, *, mode: Mode, routed: bool, dropout: float, per_expert: bool,
                 dtype: torch.dtype):
        super().__init__(base, routed=routed, dtype=dtype)
        self.mode, self.dropout, self.per_expert = mode, dropout, per_expert
        self._seen: tuple[bool, Tensor | None, object] | None = None
        self._kept: tuple[object, Factors] | None = None
        self.train(base.training)

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
        A_RD, B_OR, router_ED = self._factors(dtype, y_XO.dtype)
        h_XR = self._gated(self._down(x_XD, A_RD), x_XD, router_ED)
        h_NR = h_XR.to(y_XO.dtype).reshape(-1, h_XR.shape[-1])
        y_NO = torch.addmm(y_XO.reshape(-1, self.out_features), h_NR, B_OR.t(), alpha=self._common_scale)
        return y_NO.view(y_XO.shape)

    def _factors(self, dtype: torch.dtype, out_dtype: torch.dtype) -> Factors:
        """A and B of all active ranks and the router, in the compute dtype."""
        key = (self._layout, dtype, out_dtype)
        if self._kept is not None and self.mode.fixed and not torch.is_grad_enabled() and self._kept[0] == key:
            return self._kept[1]
        factors = (_joined(self.frozen_A_RD, self.bank_A, dtype, dim=0),
                   _joined(self.frozen_B_OR, self.bank_B, out_dtype, dim=1),
                   None if self.router is None else self.router.to(dtype))
        if self.mode.fixed and not torch.is_grad_enabled():
            self._kept = (key, factors)
        return factors

    def forget_factors(self) -> None:
        self._kept = None

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

    def _gated(self, h_XR: Tensor, x_XD: Tensor, router_ED: Tensor | None) -> Tensor:
        gate_XE = self._gate(x_XD, router_ED)
        if gate_XE is None:
            return h_XR if self._scale_E is None else h_XR * self._expand(self._scale_E).to(h_XR.dtype)
        if self._scale_E is not None:
            gate_XE = gate_XE * self._scale_E
        gate_XE = gate_XE.to(h_XR.dtype)
        if self._equal_ranks:
            return (h_XR.unflatten(-1, (len(self.order), -1)) * gate_XE.unsqueeze(-1)).flatten(-2)
        return h_XR * self._expand(gate_XE)

    def _gate(self, x_XD: Tensor, router_ED: Tensor | None) -> Tensor | None:
        """Weights per active block, without the scale; None = ones."""
        if router_ED is not None:
            logits_XE = F.linear(x_XD, router_ED)
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


def _joined(frozen: Tensor | None, trainable: Tensor | None, dtype: torch.dtype, *, dim: int) -> Tensor:
    parts = [part.to(dtype) for part in (frozen, trainable) if part is not None]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
