"""A plug-in of methods that are hard to resume: tensors in their state, a moving average, gradients of a data pass, phases.

Used by the kill tests and the kill campaign: `plugins=["tests/kill/stateful.py"]`.
"""

from __future__ import annotations

from typing import Any

import torch

from coinkit.data.sampling import Subset
from coinkit.methods.fine_tune import FineTune
from coinkit.types import Phase


def coinkit_register(registries: Any) -> None:
    for method in (Averaged, ThreePhases, Diverges):
        registries.METHODS.add(method.__name__, method)


class Averaged:
    """Pulls the weights to their own moving average, weighted by squared gradients of the task before."""

    def __init__(self, *, decay: float = 0.8, strength: float = 0.1):
        self.decay, self.strength = decay, strength
        self.mean: dict[str, torch.Tensor] = {}
        self.weight: dict[str, torch.Tensor] = {}
        self.seen: list[int] = []

    def coinkit_begin_task(self, state: Any) -> None:
        self.mean = {}
        self.seen.append(int(state.rng.integers(1000)))

    def coinkit_loss_terms(self, state: Any, batch: Any, output: Any) -> dict[str, torch.Tensor]:
        terms = [(self.weight.get(name, torch.ones(())) * (p - self.mean[name]) ** 2).mean()
                 for name, p in state.trainable().items() if name in self.mean]
        return {'pull': self.strength * torch.stack(terms).sum()} if terms else {}

    def coinkit_after_step(self, state: Any) -> None:
        for name, value in state.strategy.full_params().items():
            self.mean[name] = torch.lerp(value, self.mean.get(name, value), self.decay)

    def coinkit_end_task(self, state: Any) -> None:
        """A pass over data with gradients, then noise: what it leaves depends on order and random numbers."""
        self.weight = {name: torch.zeros_like(p) for name, p in state.trainable().items()}
        samples = Subset(state.train_samples(), state.rng.permutation(len(state.train_samples()))[:2].tolist())
        for _, output in state.each_batch(samples, grad=True):
            output.token_loss_N.mean().backward()
            for name, parameter in state.trainable().items():
                if parameter.grad is not None:
                    self.weight[name] += parameter.grad ** 2 + 1e-3 * torch.rand_like(parameter)
                    parameter.grad = None

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'mean': self.mean, 'weight': self.weight, 'seen': self.seen}

    def coinkit_load_state_dict(self, state: Any, blob: dict[str, Any]) -> None:
        self.mean, self.weight, self.seen = dict(blob['mean']), dict(blob['weight']), list(blob['seen'])


class ThreePhases(FineTune):
    """The adapter, then the projector on half the samples, then everything."""

    def coinkit_phases(self, state: Any) -> list[Phase]:
        samples = state.train_samples()
        return [Phase('blocks', trains=('adapter',)),
                Phase('pictures', Subset(samples, range(len(samples) // 2)), trains=('projector',),
                      schedule={'steps': 3, 'lr': 1e-3}),
                Phase('all', schedule={'steps': 2})]


class Diverges:
    """Adds a term to the loss that is not a number, at one step of one task."""

    def __init__(self, *, task: str, at_step: int):
        self.task, self.at_step = task, at_step

    def coinkit_loss_terms(self, state: Any, batch: Any, output: Any) -> dict[str, torch.Tensor]:
        broken = state.task.name == self.task and state.step + 1 == self.at_step
        return {'broken': output.token_loss_N.sum() * (float('nan') if broken else 0.0)}
