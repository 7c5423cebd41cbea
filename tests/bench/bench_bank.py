"""Ratios of the adapter bank, measured side by side in one process: `python tests/bench/bench_bank.py [--gpu]`.

Three forms of one linear with adapters, forward and backward: E routed experts in the stacked form (the bank), the same
experts in a loop (the released code's form), and plain LoRA of the same total rank. The outputs and gradients of the
first two are compared before anything is timed; the forms take turns and the median of each is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coinkit.nn.bank import AdapterBank
from coinkit.testing.timing import take_turns

CPU = dict(width=768, tokens=512, experts=8, rank=64, rounds=15, device='cpu', dtype=torch.float32)
GPU = dict(width=4096, tokens=8192, experts=8, rank=128, rounds=50, device='cuda', dtype=torch.bfloat16)
SCALE, DROPOUT = 2.0, 0.05
SWEEP = (2, 4, 8, 16)  # experts at one total rank


class ExpertLoop(nn.Module):
    """The same arithmetic, one expert after the other: what the bank replaces."""

    def __init__(self, base: nn.Linear, state: Mapping[str, Tensor], experts: int):
        super().__init__()
        self.base, self.router = base, nn.Parameter(state['0.router'].to(base.weight.device))
        for half in 'AB':
            values = [state[f'0.e{i}.{half}'].to(base.weight.device) for i in range(experts)]
            setattr(self, half, nn.ParameterList([nn.Parameter(value) for value in values]))

    def forward(self, x_BLD: Tensor) -> Tensor:
        gate_BLE = F.linear(x_BLD, self.router.to(x_BLD.dtype)).softmax(-1, dtype=torch.float32).to(x_BLD.dtype)
        y_BLO = self.base(x_BLD)
        for i, (A_rD, B_Or) in enumerate(zip(self.A, self.B, strict=True)):
            dropped_BLD = F.dropout(x_BLD, DROPOUT, self.training)  # each expert its own, as published
            delta_BLO = F.linear(F.linear(dropped_BLD, A_rD.to(x_BLD.dtype)), B_Or.to(x_BLD.dtype))
            y_BLO = y_BLO + SCALE * gate_BLE[..., i:i + 1] * delta_BLO
        return y_BLO


def forms(*, width: int, experts: int, rank: int, device: str, dtype: torch.dtype) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    base = nn.Linear(width, width, bias=False, device=device, dtype=dtype).requires_grad_(False)
    stacked, plain = nn.Sequential(base), nn.Sequential(base)
    routed = AdapterBank(stacked, ['0'], gate='softmax', dropout=DROPOUT)
    routed.add([f'e{i}' for i in range(experts)], rank=rank // experts, scale=SCALE)
    _fill(routed)
    lora = AdapterBank(plain, ['0'], dropout=DROPOUT)
    lora.add('lora', rank=rank, scale=SCALE)
    _fill(lora)
    return {'stacked': stacked, 'loop': ExpertLoop(base, routed.state_dict(), experts), 'lora': plain}


def _fill(bank: AdapterBank) -> None:
    generator = torch.Generator().manual_seed(1)
    state = bank.state_dict()
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator) / value.shape[-1] ** 0.5
                          for key, value in state.items()})


def check_equal(models: Mapping[str, nn.Module], x_BLD: Tensor) -> None:
    """The stacked form and the loop give the same output and the same gradients, dropout off."""
    results = []
    for model in models.values():
        model.eval()
    for name in ('stacked', 'loop'):
        x = x_BLD.clone().requires_grad_()
        y = models[name](x)
        (y.float() ** 2).mean().backward()
        layer = models[name][0] if name == 'stacked' else models[name]
        A = layer.bank_A.grad if name == 'stacked' else torch.cat([parameter.grad for parameter in layer.A])
        B = layer.bank_B.grad if name == 'stacked' else torch.cat([parameter.grad for parameter in layer.B], 1)
        results.append((y, x.grad, A, B, layer.router.grad))
        models[name].zero_grad()
    allowed = 1e-4 if x_BLD.dtype == torch.float32 else 2e-2
    for one, other in zip(*results, strict=True):
        error = (one.float() - other.float()).norm() / other.float().norm()
        assert error < allowed, f'the two forms differ by {error:.1e}, allowed {allowed:.0e}'
    for model in models.values():
        model.train()


def measure(*, width: int, tokens: int, experts: int, rank: int, rounds: int, device: str,
            dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of a forward and backward per form, and the ratios."""
    models = forms(width=width, experts=experts, rank=rank, device=device, dtype=dtype)
    x_BLD = torch.randn(4, tokens // 4, width, device=device, dtype=dtype)
    check_equal(models, x_BLD)
    ms = take_turns({name: partial(_step, model, x_BLD) for name, model in models.items()}, rounds=rounds, device=device)
    kept = {name: _kept(model, x_BLD) for name, model in models.items()}
    memory = {} if device == 'cpu' else {f'{name}_peak_mib': _peak(model, x_BLD) for name, model in models.items()}
    return {**{f'{name}_ms': value for name, value in ms.items()}, **memory,
            'stacked/lora': ms['stacked'] / ms['lora'], 'stacked/loop': ms['stacked'] / ms['loop'],
            'stacked/loop, kept for backward': kept['stacked'] / kept['loop']}


def measure_sweep(*, width: int, tokens: int, rank: int, rounds: int, device: str, dtype: torch.dtype,
                  **_: int) -> dict[int, float]:
    """The stacked form's time by number of experts, over its mean: flat where the cost follows the total rank alone."""
    x_BLD = torch.randn(4, tokens // 4, width, device=device, dtype=dtype)
    layers = {str(count): forms(width=width, experts=count, rank=rank, device=device, dtype=dtype)['stacked'].train()
              for count in SWEEP}
    ms = take_turns({name: partial(_step, layer, x_BLD) for name, layer in layers.items()}, rounds=rounds, device=device)
    mean = sum(ms.values()) / len(ms)
    return {count: ms[str(count)] / mean for count in SWEEP}


def _kept(model: nn.Module, x_BLD: Tensor) -> int:
    """Bytes that the forward keeps for the backward, beside its input and the parameters."""
    known = {one.untyped_storage().data_ptr() for one in (x_BLD, *model.parameters())}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(x_BLD.requires_grad_())
    del output
    return sum(sizes.values())


def _step(model: nn.Module, x_BLD: Tensor) -> None:
    model(x_BLD.requires_grad_()).sum().backward()


def _peak(model: nn.Module, x_BLD: Tensor) -> float:
    """Memory one forward and backward needs on top of what is there."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _step(model, x_BLD)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', action='store_true', help='the size of a 7B model on one GPU, bfloat16')
    size = GPU if parser.parse_args().gpu else CPU
    result = {name: round(value, 3) for name, value in measure(**size).items()}
    flat = {f'{count} experts': round(share, 3) for count, share in measure_sweep(**size).items()}
    shown = {name: str(value) for name, value in size.items()}
    sys.stdout.write(json.dumps({'size': shown, **result, 'over the mean': flat}, indent=1) + '\n')
