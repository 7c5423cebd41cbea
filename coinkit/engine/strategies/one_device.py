"""One process on one device: the plain loop every other strategy must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from coinkit.engine.processes import Launch, choose_device
from coinkit.engine.strategies.base import OptimizerFactory, OptimizerState, Strategy
from coinkit.errors import Problem, RunError, raise_problems


class OneDevice(Strategy):
    """Train on one CPU or one GPU, without process groups."""

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        world_size = Launch.from_environment().world_size
        if world_size == 1:
            return []
        return [Problem('config: strategy', f"type='OneDevice' was started as {world_size} processes.",
                        "Start it with plain `python`, or set strategy=dict(type='DDP').")]

    def setup(self) -> None:
        raise_problems(self.preflight())
        self.device = choose_device(self.device_choice, 0)

    def teardown(self) -> None:
        if self._module is not None:
            self.release()

    def prepare(self, module: nn.Module, optimizer_factory: OptimizerFactory, param_groups: list[dict[str, Any]], *,
                accumulation: int, grad_clip: float) -> None:
        groups = self._take(module, param_groups, accumulation, grad_clip)
        module.to(self.device)
        self.optimizer = optimizer_factory(groups)
        self.optimizer.zero_grad(set_to_none=True)
        self._untouched: set[str] = set()

    def release(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._drop()

    def forward(self, batch: Any) -> Any:
        return self._module(batch)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        if loss.requires_grad:  # a micro-batch without a labelled token may have no graph at all
            loss.backward()
        if last:
            self._fill_missing()

    def _fill_missing(self) -> None:
        """Zeros where no micro-batch left a gradient, as the sharded strategies have it."""
        self._untouched = {name for name, parameter in self._parameters.items() if parameter.grad is None}
        for name in self._untouched:
            self._parameters[name].grad = torch.zeros_like(self._parameters[name])

    def step(self, lrs: Sequence[float]) -> Tensor:
        set_lrs(self.optimizer, lrs)
        norm = clip(self._parameters.values(), self.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def grads(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        parameters = self._select(names)
        raise_missing(self.missing_grads(parameters))
        found = {name: parameter.grad.detach() for name, parameter in parameters.items()}
        return {name: grad.clone() for name, grad in found.items()} if copy else found

    def missing_grads(self, names: Iterable[str] | None = None) -> list[str]:
        return [name for name, parameter in self._select(names).items()
                if parameter.grad is None or name in self._untouched]

    def set_grads(self, grads: Mapping[str, Tensor]) -> None:
        pairs = self._checked(grads)
        raise_missing(name for name in grads if self._parameters[name].grad is None)
        for parameter, value in pairs:
            parameter.grad.copy_(value)

    @torch.no_grad()
    def full_params(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        found = {name: parameter.detach() for name, parameter in self._select(names).items()}
        return {name: value.clone() for name, value in found.items()} if copy else found

    @torch.no_grad()
    def set_full_params(self, values: Mapping[str, Tensor]) -> None:
        for parameter, value in self._checked(values):
            parameter.copy_(value)

    def optimizer_state(self, *, to_rank0: bool = False) -> dict[str, dict[str, Tensor]]:
        return plain_state(self.optimizer, self._parameters) if self.is_main or not to_rank0 else {}

    def load_optimizer_state(self, state: OptimizerState) -> None:
        self._check_state(state)
        load_plain_state(self.optimizer, self._parameters, state)


def raise_missing(names: Iterable[str]) -> None:
    """A method that needs a gradient and gets none must not go on with zeros."""
    names = sorted(names)
    if names:
        listed = ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
        raise RunError(f'No gradient for {listed}: gradients exist between the last backward and step(), and only for '
                       'parameters that the loss depends on.')


def set_lrs(optimizer: torch.optim.Optimizer, lrs: Sequence[float]) -> None:
    """One rate per parameter group."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group['lr'] = lr


def clip(parameters: Iterable[nn.Parameter], grad_clip: float) -> Tensor:
    """Scale gradients to norm `grad_clip` if larger (0 = leave them); returns the norm they had."""
    parameters = list(parameters)
    norm = get_total_norm([parameter.grad for parameter in parameters])
    if grad_clip > 0:
        clip_grads_with_norm_(parameters, grad_clip, norm)
    return norm


def plain_state(optimizer: torch.optim.Optimizer,
                parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """A torch optimizer's state by parameter name, on the CPU."""
    return {name: {key: torch.as_tensor(value).detach().cpu().clone()
                   for key, value in optimizer.state[parameter].items()}
            for name, parameter in parameters.items() if optimizer.state.get(parameter)}


def load_plain_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter],
                     state: OptimizerState) -> None:
    """The reverse: through `load_state_dict`, which knows which entries stay on the CPU."""
    index = {id(parameter): i for i, parameter in enumerate(p for g in optimizer.param_groups for p in g['params'])}
    blob = {index[id(parameters[name])]: {key: value.clone() for key, value in entries.items()}
            for name, entries in state.items() if entries}
    optimizer.load_state_dict({'state': blob, 'param_groups': optimizer.state_dict()['param_groups']})
