"""Ratio of CIA's EMA step to a fused AdamW step on the same tensors: `python tests/bench/bench_ema.py [--gpu]`.

With `--experts 8` every tensor holds eight blocks with a share each.
An EMA step is all that DynamicEMA does with a step's tensors: the norms of the gradient and of its change, keeping the
gradient, the distance to the average, the choice of the share and the update. It is compared with a plain per-tensor
reference before anything is timed. The two take turns and the median of each is taken; on a CPU the clock is that of the
process, so that neighbours on the machine do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from coinkit.nn.ema import DynamicAverage
from coinkit.nn.ema_parts import Parts
from coinkit.testing.timing import take_turns

CPU = dict(layers=4, width=1024, rank=32, rounds=30, device='cpu')
GPU = dict(layers=32, width=4096, rank=128, rounds=50, device='cuda')


def parameters(*, layers: int, width: int, rank: int, device: str) -> dict[str, nn.Parameter]:
    """A LoRA on seven linears of each layer, with gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f'{layer}.{linear}.{half}': (rank, width) if half == 'A' else (width, rank)
              for layer in range(layers) for linear in range(7) for half in 'AB'}
    found = {name: nn.Parameter((0.01 * torch.randn(shape, generator=generator)).to(device))
             for name, shape in shapes.items()}
    for parameter in found.values():
        parameter.grad = (1e-3 * torch.randn(parameter.shape, generator=generator)).to(device)
    return found


def parts_of(theta: dict[str, nn.Parameter], experts: int) -> dict[str, Parts]:
    """Experts of one rank, stacked as a bank does it."""
    if experts < 2:
        return {}
    dims = {name: 'AB'.index(name[-1]) for name in theta}
    return {name: Parts(dim, (theta[name].shape[dim] // experts,) * experts) for name, dim in dims.items()}


def ema_step(average: DynamicAverage, theta: dict[str, nn.Parameter]) -> None:
    average.read_gradients({name: parameter.grad for name, parameter in theta.items()})
    average.update({name: parameter.detach() for name, parameter in theta.items()})


@torch.no_grad()
def plain_step(average: Tensor, last_grad: Tensor | None, theta: Tensor, grad: Tensor) -> Tensor:
    """theta*_t of one tensor, as the equations say it."""
    alpha = 0.01
    if last_grad is not None:
        a, b, c = ((theta - average).abs().sum(), grad.abs().sum(), (grad - last_grad).abs().sum())
        found = float(2 * (1 + b) / (a * c))
        alpha = found if 0 < found < 1 else 0.01
    return (1 - alpha) * average + alpha * theta


def cut(tensors: dict[str, Tensor], parts: dict[str, Parts]) -> dict[str, Tensor]:
    """Every expert's tensor by itself."""
    return {f'{name}/{number}': block.clone() for name, tensor in tensors.items()
            for number, block in enumerate(tensor.split(parts[name].sizes, parts[name].dim) if parts else [tensor])}


def check_equal(theta: dict[str, nn.Parameter], parts: dict[str, Parts], steps: int = 3) -> None:
    """The average and the plain reference stay together while theta and the gradients move."""
    average, last = DynamicAverage(parts=parts), {}
    plain = cut({name: value.detach() for name, value in theta.items()}, parts)
    average.start(theta)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in theta.values():
                parameter += 0.01 * torch.sign(parameter.grad)
                parameter.grad += 0.1 * parameter
        ema_step(average, theta)
        now = cut({name: value.detach() for name, value in theta.items()}, parts)
        grads = cut({name: value.grad for name, value in theta.items()}, parts)
        plain = {name: plain_step(plain[name], last.get(name), now[name], grads[name]) for name in now}
        last = grads
    found = cut(average.average, parts)
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)
        assert not torch.allclose(value, now[name], atol=1e-7)


def measure(*, layers: int, width: int, rank: int, rounds: int, device: str, experts: int = 1) -> dict[str, float]:
    """Milliseconds of a step of each, and the ratio; on a GPU a step that waits for the device is an error."""
    theta = parameters(layers=layers, width=width, rank=rank, device=device)
    parts = parts_of(theta, experts)
    check_equal(theta, parts)
    average, optimizer = DynamicAverage(parts=parts), torch.optim.AdamW(theta.values(), lr=1e-6, fused=True)
    average.start(theta)
    steps = {'adamw': optimizer.step, 'ema': lambda: ema_step(average, theta)}
    ms = take_turns(steps, rounds=rounds, device=device)
    if device != 'cpu':
        _check_no_sync(steps['ema'])
    numbers = sum(parameter.numel() for parameter in theta.values())
    return {'numbers': numbers, **{f'{name}_ms': value for name, value in ms.items()}, 'ema/adamw': ms['ema'] / ms['adamw']}


def _check_no_sync(step: Callable[[], None]) -> None:
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode('default')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', action='store_true', help='the size of a 7B model on one GPU')
    parser.add_argument('--experts', type=int, default=1, help='blocks in each tensor, every one with a weight of its own')
    given = parser.parse_args()
    size = {**(GPU if given.gpu else CPU), 'experts': given.experts}
    result = {name: round(value, 3) for name, value in measure(**size).items()}
    sys.stdout.write(json.dumps({'size': size, **result}, indent=1) + '\n')
