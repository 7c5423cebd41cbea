"""Ratios of the adapter bank, measured side by side in one process: `python tests/bench/bench_bank.py [--gpu]`.

Three forms of one linear with adapters, forward and backward: E routed experts in the stacked form (the bank), the same
experts in a loop (the released code's form), and plain LoRA of the same total rank. The outputs and gradients of the
first two are compared before anything is timed; the forms take turns and the median of each is taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coinkit.nn.bank import AdapterBank

CPU = dict(width=768, tokens=512, experts=8, rank=64, rounds=15, device='cpu', dtype=torch.float32)
GPU = dict(width=4096, tokens=8192, experts=8, rank=128, rounds=50, device='cuda', dtype=torch.bfloat16)
SCALE = 2.0


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
            delta_BLO = F.linear(F.linear(x_BLD, A_rD.to(x_BLD.dtype)), B_Or.to(x_BLD.dtype))
            y_BLO = y_BLO + SCALE * gate_BLE[..., i:i + 1] * delta_BLO
        return y_BLO


def forms(*, width: int, experts: int, rank: int, device: str, dtype: torch.dtype) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    base = nn.Linear(width, width, bias=False, device=device, dtype=dtype).requires_grad_(False)
    stacked, plain = nn.Sequential(base), nn.Sequential(base)
    routed = AdapterBank(stacked, ['0'], gate='softmax')
    routed.add([f'e{i}' for i in range(experts)], rank=rank // experts, scale=SCALE)
    _fill(routed)
    lora = AdapterBank(plain, ['0'])
    lora.add('lora', rank=rank, scale=SCALE)
    _fill(lora)
    return {'stacked': stacked, 'loop': ExpertLoop(base, routed.state_dict(), experts), 'lora': plain}


def _fill(bank: AdapterBank) -> None:
    generator = torch.Generator().manual_seed(1)
    state = bank.state_dict()
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator) / value.shape[-1] ** 0.5
                          for key, value in state.items()})


def check_equal(models: Mapping[str, nn.Module], x_BLD: Tensor) -> None:
    """The stacked form and the loop give the same output and the same gradients."""
    results = []
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


def measure(*, width: int, tokens: int, experts: int, rank: int, rounds: int, device: str,
            dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of a forward and backward per form, and the ratios."""
    models = forms(width=width, experts=experts, rank=rank, device=device, dtype=dtype)
    x_BLD = torch.randn(4, tokens // 4, width, device=device, dtype=dtype)
    check_equal(models, x_BLD)
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 2):
        for name, model in models.items():
            seconds = _clock(lambda model=model: _step(model, x_BLD), device)
            if turn >= 2:  # the first ones warm up
                times[name].append(seconds)
    ms = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    memory = {} if device == 'cpu' else {f'{name}_mib': _peak(model, x_BLD) for name, model in models.items()}
    return {**{f'{name}_ms': value for name, value in ms.items()}, **memory,
            'loop/stacked': ms['loop'] / ms['stacked'], 'stacked/lora': ms['stacked'] / ms['lora']}


def _step(model: nn.Module, x_BLD: Tensor) -> None:
    model(x_BLD.requires_grad_()).sum().backward()


def _clock(step: Callable[[], None], device: str) -> float:
    if device != 'cpu':
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device != 'cpu':
        torch.cuda.synchronize()
    return time.perf_counter() - start


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
    shown = {name: str(value) for name, value in size.items()}
    sys.stdout.write(json.dumps({'size': shown, **result}, indent=1) + '\n')
