"""Speed of what methods add to a step, each form compared with the plain one first: `python tests/bench/bench_methods.py`.

O-LoRA: the overlap of a new A with all old ones and its gradient, as one batched product per distinct shape
(nn/subspaces.py) and as a double loop over modules and old tasks with autograd. The forms take turns; medians are told.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coinkit.nn.subspaces import Overlap
from coinkit.testing.timing import take_turns

# modules by input width; the GPU size is LLaVA-1.5 7B: q, k, v, o, gate and up read 4096 numbers, down 11008
CPU = dict(modules={256: 48, 688: 8}, rank=8, tasks=7, rounds=15, device='cpu')
GPU = dict(modules={4096: 192, 11008: 32}, rank=8, tasks=7, rounds=50, device='cuda')
Factors = dict[str, Tensor]


def factors(modules: dict[int, int], rank: int, device: str) -> Factors:
    return {f'{width}.{number}': torch.randn(rank, width, device=device) / width ** 0.5
            for width, count in modules.items() for number in range(count)}


def double_loop(new: Factors, old_tasks: list[Factors], leaves: Factors) -> tuple[Tensor, Factors]:
    """The formula as it stands: a product for each module and old task."""
    total = torch.zeros((), device=next(iter(new.values())).device)
    for name, leaf in leaves.items():
        for old in old_tasks:
            total = total + (leaf @ old[name].T).abs().sum()
    return total.detach(), dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def olora(*, modules: dict[int, int], rank: int, tasks: int, rounds: int, device: str) -> dict[str, float]:
    """Milliseconds of both forms and their ratio; raises where they differ."""
    torch.manual_seed(0)
    old_tasks = [factors(modules, rank, device) for _ in range(tasks)]
    new = factors(modules, rank, device)
    leaves = {name: value.clone().requires_grad_() for name, value in new.items()}
    overlap = Overlap({name: torch.cat([old[name] for old in old_tasks]) for name in new})
    assert_equal(overlap(new), double_loop(new, old_tasks, leaves))
    forms: dict[str, Callable[[], Any]] = {'batched': lambda: overlap(new),
                                           'loop': lambda: double_loop(new, old_tasks, leaves)}
    ms = take_turns(forms, rounds=rounds, device=device)
    return {**{f'{name}_ms': value for name, value in ms.items()}, 'batched/loop': ms['batched'] / ms['loop']}


def assert_equal(mine: tuple[Tensor, Factors], theirs: tuple[Tensor, Factors]) -> None:
    torch.testing.assert_close(mine[0], theirs[0], rtol=1e-4, atol=1e-4)
    for name, slope in theirs[1].items():
        # a product that rounds to another sign of zero moves the gradient by whole rows: allow almost none
        assert torch.isclose(mine[1][name], slope, rtol=1e-3, atol=1e-4).float().mean() > 0.999, name


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', action='store_true', help='the size of a 7B model on one GPU')
    size = GPU if parser.parse_args().gpu else CPU
    result = {name: round(value, 3) for name, value in olora(**size).items()}
    shown = {key: str(value) for key, value in size.items()}
    sys.stdout.write(json.dumps({'size': shown, 'olora': result}, indent=1) + '\n')
