"""DynamicEMA on the toy model of the strategy tests: five steps with accumulation, by any strategy.

Run by torchrun as a script, it compares two processes with one (see test_dynamic_ema.py): one line per strategy that agrees.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / 'engine' / 'strategies'))

from toy_training import STEPS, accumulate, lrs_of, make_toy, prepared  # noqa: E402

from coinkit.engine.strategies.one_device import OneDevice  # noqa: E402
from coinkit.methods.dynamic_ema import DynamicEMA  # noqa: E402

TOLERANCE = dict(atol=1e-6, rtol=1e-6)


class ToyRun:
    """As much of a run as DynamicEMA needs."""

    def __init__(self, strategy: Any, *, unused: bool = False, clip: float = 0.05, bank: Any = None):
        self.strategy, self.bank, self.notes = strategy, bank, {}
        self.module = make_toy(rank=200)  # in few numbers the formula gives more than 1, and the share is always 0.01
        self.module.unused.requires_grad_(unused)
        self.backbone = SimpleNamespace(model=self.module, dtype=torch.bfloat16)
        self.hooks = SimpleNamespace(plugins={})
        self.task, self.phase = SimpleNamespace(name='toy'), SimpleNamespace(name='fit')
        self.raw: list[dict[str, Tensor]] = []  # theta_0, theta_1...
        self.grads: list[dict[str, Tensor]] = []
        self.shares: list[float] = []  # the mean alpha of each step that had one
        prepared(strategy, self.module, clip=clip)
        self.used = [name for name in strategy.full_params() if name != 'unused']

    def note(self, name: str, value: Tensor) -> None:
        self.shares.append(float(value))

    def train(self, method: DynamicEMA, first: int = 0, steps: int = STEPS) -> None:
        self.raw = self.raw or [self.strategy.full_params()]
        for step in range(first, first + steps):
            accumulate(self.strategy, step)
            self.grads.append(self.strategy.grads(self.used))
            method.coinkit_before_step(self)
            self.strategy.step(lrs_of(step))
            method.coinkit_after_step(self)
            self.raw.append(self.strategy.full_params())

    def end(self, method: DynamicEMA) -> dict[str, Tensor]:
        """The trained values after the task, on the plain model."""
        self.strategy.release()
        method.coinkit_end_task(self)
        values = dict(self.module.named_parameters())
        return {name: values[name].detach().clone() for name in self.used}


def averaged(strategy: Any, **options: Any) -> ToyRun:
    """A whole task; `.ends` = theta*."""
    run, method = ToyRun(strategy), DynamicEMA(**{'ema_when': 'always', **options})
    method.coinkit_begin_task(run)
    run.train(method)
    run.ends = run.end(method)
    return run


def main(report: Path) -> None:
    from two_processes import SETTINGS

    leader = SETTINGS['zero2']()
    leader.setup()
    for name in ('ddp', 'zero0', 'zero1', 'zero2', 'zero3', 'zero3_small'):
        strategy = SETTINGS[name]()
        strategy.setup()
        for formula in ('released', 'paper'):
            mine, one = averaged(strategy, ema_formula=formula), averaged(OneDevice(device='cpu'), ema_formula=formula)
            torch.testing.assert_close(mine.shares, one.shares, rtol=1e-4, atol=1e-6)
            for each, value in one.ends.items():
                torch.testing.assert_close(mine.ends[each], value, **TOLERANCE, msg=lambda text, each=each: f'{each} {text}')
        if leader.is_main:
            with report.open('a') as file:
                file.write(f'{name}\n')
    leader.teardown()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
