"""The moving average of CIA: per tensor and step, theta* moves towards theta by a share alpha chosen from the gradients.

    theta*_t = (1 - alpha_t) theta*_{t-1} + alpha_t theta_t
    released:  alpha_t = 2 (1 + ||g_t||) / (||theta_t - theta*_{t-1}|| ||g_t - g_{t-1}||)
    paper:     alpha_t = ||theta_{t-1} - theta*_{t-1}|| (1 + ||g_t||) / (||theta_t - theta*_{t-1}|| ||g_t - g_{t-1}||)
    alpha_t = 0.01 where that is not inside (0, 1) or not a number

with L1 norms over the whole tensor, in fp32; of a tensor that holds several (`parts`), over each of these. On a GPU norms
and choice stay there: a step never waits for the device.
Shape suffix: K tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from coinkit.nn.ema_parts import Parts, StackedAverage

FALLBACK = 0.01
RELEASED_WAY = 2.0  # what stands in the released code for ||theta_{t-1} - theta*_{t-1}||


class DynamicAverage:
    """theta* of named tensors: `start`, then for every step `read_gradients` before it and `update` after it.

    `fixed` is a constant share alpha instead of the formula, which needs no gradients; `rounded` is a dtype to whose
    precision theta* is rounded; `parts` says by name which tensors hold several, each with a share of its own.
    """

    def __init__(self, *, formula: Literal['released', 'paper'] = 'released', fixed: float | None = None,
                 rounded: torch.dtype | None = None, parts: Mapping[str, Parts] | None = None):
        self.formula, self.fixed, self.rounded = formula, fixed, rounded
        self.stacked = StackedAverage(parts if parts and fixed is None else {}, dynamic_alpha, keeps_way=formula == 'paper',
                                      rounded=rounded)  # a constant is the same for all parts
        self.average: dict[str, Tensor] = {}  # theta*
        self.last_grads: dict[str, Tensor] = {}  # g_{t-1}
        self.way_K: Tensor | None = None  # paper: ||theta_{t-1} - theta*_{t-1}||
        self._grad_K = self._change_K = torch.empty(0)  # ||g_t||, ||g_t - g_{t-1}||, between the two calls of a step
        self._norms: Norms | None = None

    @torch.no_grad()
    def start(self, theta: Mapping[str, Tensor]) -> None:
        """theta*_0."""
        self.average = {name: value.detach().to(torch.float32, copy=True) for name, value in theta.items()}
        self._round(self.average.values())
        self.stacked.forget()

    @torch.no_grad()
    def read_gradients(self, grads: Mapping[str, Tensor]) -> None:
        """Take the norms of g_t and remember it. The first step has no g_{t-1}: its change is not a number."""
        if not self.last_grads:
            self.last_grads = {name: torch.full_like(grad, torch.nan) for name, grad in grads.items()}
        if now := self._whole(grads):
            self._grad_K, self._change_K = self._norms_for(now).of_gradients(now, self._whole(self.last_grads))
        if self.stacked.parts:
            self.stacked.read_gradients(grads, self.last_grads)

    @torch.no_grad()
    def update(self, theta: Mapping[str, Tensor]) -> Tensor:
        """theta*_t; returns alpha_K, those of parts at its end."""
        alphas, whole = [], self._whole(theta)
        if whole:
            alphas.append(self._update_whole(whole, self._whole(self.average)))
        if self.stacked.parts:
            way = RELEASED_WAY if self.formula == 'released' else math.nan
            alphas.append(self.stacked.update(theta, self.average, way))
        return torch.cat(alphas)

    def _whole(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Those without parts."""
        return [tensor for name, tensor in tensors.items() if name not in self.stacked.parts]

    def _update_whole(self, now: list[Tensor], average: list[Tensor]) -> Tensor:
        norms = self._norms_for(now)
        alpha_K = (self._one_by_one if norms.on_cpu else self._together)(now, average, norms)
        self._round(average)
        if self.formula == 'paper':
            self.way_K = norms.of_differences(now, average)
        return alpha_K

    def _together(self, now: list[Tensor], average: list[Tensor], norms: Norms) -> Tensor:
        """In few launches and without a look at a value."""
        if self.fixed is not None:
            torch._foreach_lerp_(average, now, self.fixed)
            return torch.full((len(now),), self.fixed, device=now[0].device)
        alpha_K = dynamic_alpha(norms.of_differences(now, average), self._grad_K, self._change_K, self._way_K())
        torch._foreach_lerp_(average, now, list(alpha_K.unbind()))
        return alpha_K

    def _one_by_one(self, now: list[Tensor], average: list[Tensor], norms: Norms) -> Tensor:
        """A tensor at a time, while it is in the cache."""
        if self.fixed is not None:
            return self._together(now, average, norms)
        alphas = []
        known = zip(self._grad_K.tolist(), self._change_K.tolist(), self._way_K().tolist(), strict=True)
        for i, (grad, change, way) in enumerate(known):
            alphas.append(dynamic_share(norms.of_difference(now[i], average[i], i), grad, change, way))
            average[i].lerp_(now[i], alphas[-1])
        return torch.tensor(alphas)

    def _way_K(self) -> Tensor:
        if self.formula == 'paper' and self.way_K is not None:
            return self.way_K
        return torch.full_like(self._grad_K, RELEASED_WAY if self.formula == 'released' else torch.nan)

    def _norms_for(self, tensors: Sequence[Tensor]) -> Norms:
        if self._norms is None:
            self._norms = Norms(tensors)
        return self._norms

    def _round(self, tensors: Any) -> None:
        for tensor in tensors if self.rounded is not None else ():
            tensor.copy_(tensor.to(self.rounded))

    # --- checkpoints --------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        ways = {'way': self.way_K, 'way_of_parts': self.stacked.way_K}
        return {'average': dict(self.average), 'last_grads': dict(self.last_grads),
                **{key: way for key, way in ways.items() if way is not None}}

    def load_state_dict(self, blob: Mapping[str, Any], device: torch.device) -> None:
        self.average, self.last_grads = ({name: value.to(device, copy=True) for name, value in blob.get(key, {}).items()}
                                         for key in ('average', 'last_grads'))
        self.way_K, self.stacked.way_K = (blob[key].to(device) if key in blob else None for key in ('way', 'way_of_parts'))
        self._norms = None
        self.stacked.forget()


def dynamic_alpha(distance_K: Tensor, grad_K: Tensor, change_K: Tensor, way_K: Tensor) -> Tensor:
    """The share of theta_t of each tensor, from norms on the device."""
    alpha_K = way_K * (1 + grad_K) / (distance_K * change_K)
    return torch.where((alpha_K > 0) & (alpha_K < 1), alpha_K, FALLBACK)


def dynamic_share(distance: float, grad: float, change: float, way: float = RELEASED_WAY) -> float:
    """The same of one tensor, from norms on the CPU."""
    product = distance * change
    alpha = way * (1 + grad) / product if product else math.inf
    return alpha if 0 < alpha < 1 else FALLBACK


class Norms:
    """L1 norms of many tensors.

    On a CPU, BLAS reads a tensor once where torch writes its absolute values first, and differences go to one buffer
    that stays in the cache. Elsewhere a few launches do it for all tensors.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        self.on_cpu = tensors[0].device.type == 'cpu'
        if self.on_cpu:
            from scipy.linalg.blas import sasum

            self._sum_of_absolutes, buffer = sasum, torch.empty(max(tensor.numel() for tensor in tensors))
            self._places = [(buffer[:tensor.numel()].view(tensor.shape), buffer.numpy()[:tensor.numel()])
                            for tensor in tensors]

    def of_gradients(self, now: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """||g_t|| and ||g_t - g_{t-1}||; `before` becomes `now`."""
        if not self.on_cpu:
            norms = torch.stack(torch._foreach_norm(now, 1)), self.of_differences(now, before)
            torch._foreach_copy_(before, now)
            return norms
        grad, change = [], []
        for i, (this, last) in enumerate(zip(now, before, strict=True)):
            change.append(self.of_difference(this, last, i))
            grad.append(self._sum_of_absolutes(this.numpy().ravel()))
            last.copy_(this)
        return torch.tensor(grad), torch.tensor(change)

    def of_differences(self, these: Sequence[Tensor], those: Sequence[Tensor]) -> Tensor:
        """||x - y|| of each pair."""
        if not self.on_cpu:
            return torch.stack(torch._foreach_norm(torch._foreach_sub(these, those), 1))
        return torch.tensor([self.of_difference(*pair, i) for i, pair in enumerate(zip(these, those, strict=True))])

    def of_difference(self, this: Tensor, other: Tensor, number: int) -> float:
        """The same of the pair of that number, on the CPU."""
        place, flat = self._places[number]
        torch.sub(this, other, out=place)
        return self._sum_of_absolutes(flat)
