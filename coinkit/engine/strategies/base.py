"""The one interface through which a phase is trained, whatever the machines.

The trainer calls `prepare`, then per step `forward` and `backward` for each micro-batch and `step`, then `release`.
Between the last backward and the step a method may read and replace gradients; values and optimizer state are always
full fp32 tensors under the trainable parameters' names, so no method and no checkpoint knows how they are sharded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from coinkit.engine import processes
from coinkit.errors import Problem, RunError, nearest

OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]
OptimizerState = Mapping[str, Mapping[str, Tensor]]


class Strategy(ABC):
    """One process's share of training. All ranks make the same calls in the same order.

    A gradient is the sum over ranks and micro-batches of d(loss), `loss` being this rank's share of the loss of the
    global batch. A trainable parameter that no micro-batch of any rank touched counts as gradient zero.
    """

    rank = 0
    world_size = 1
    local_rank = 0

    def __init__(self, *, device: str = 'auto'):
        self.device_choice = device
        self.device = torch.device('cpu')
        self.optimizer: Optimizer | None = None
        self.grad_clip = 0.0
        self.accumulation = 1
        self._module: nn.Module | None = None
        self._parameters: dict[str, nn.Parameter] = {}

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        """What would keep this strategy from starting here: no launcher, a package that is not installed..."""
        return []

    # --- life ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def setup(self) -> None:
        """Choose the device and join the other processes; before any other call."""

    @abstractmethod
    def teardown(self) -> None:
        """Leave the process group; the strategy is of no further use."""

    @abstractmethod
    def prepare(self, module: nn.Module, optimizer_factory: OptimizerFactory, param_groups: list[dict[str, Any]], *,
                accumulation: int, grad_clip: float) -> None:
        """Take a plain module for one phase.

        `module(batch)` returns the tensors of the loss; `param_groups` are `{'params', 'names', 'lr', 'weight_decay'}`
        with fp32 parameters; `accumulation` is the number of micro-batches of a step and `grad_clip` the largest
        gradient norm (0 = no clipping). The factory gets the groups without their names.
        """

    @abstractmethod
    def release(self) -> None:
        """End the phase: on every rank the module is plain again, with its newest values, and nothing else is held."""

    # --- one step -----------------------------------------------------------------------------------------------

    @abstractmethod
    def forward(self, batch: Any) -> Any:
        """Run the module on this rank's micro-batch."""

    @abstractmethod
    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate d(loss); `last` ends the accumulation, and ranks exchange nothing that lasts before it."""

    @abstractmethod
    def step(self, lrs: Sequence[float]) -> Tensor:
        """Set each group's rate, clip, step and zero the gradients.

        Returns the gradient norm before clipping as a device tensor: reading it is the caller's sync, not ours.
        """

    @abstractmethod
    def grads(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        """The full, unclipped fp32 gradients; valid between the last backward and `step`.

        `None` means every trainable parameter. A parameter without a gradient is a RunError that names it. With
        `copy=False` they may be the tensors that the step will use: read them at once and do not write to them.
        """

    @abstractmethod
    def missing_grads(self, names: Iterable[str] | None = None) -> list[str]:
        """Those that have no gradient on any rank, in the same window as `grads`. Every rank must call."""

    @abstractmethod
    def set_grads(self, grads: Mapping[str, Tensor]) -> None:
        """Replace gradients by full values, equal on all ranks; in the same window as `grads`."""

    # --- values and state ---------------------------------------------------------------------------------------

    @abstractmethod
    def full_params(self, names: Iterable[str] | None = None, *, copy: bool = True) -> dict[str, Tensor]:
        """The full fp32 values, any time between `prepare` and `release`.

        With `copy=False` they may be the parameters' own tensors: read them at once and do not write to them.
        """

    @abstractmethod
    def set_full_params(self, values: Mapping[str, Tensor]) -> None:
        """Replace values by full tensors, equal on all ranks. The optimizer's state is not touched."""

    @abstractmethod
    def optimizer_state(self, *, to_rank0: bool = False) -> dict[str, dict[str, Tensor]]:
        """Full CPU copies per parameter name, e.g. `{'step', 'exp_avg', 'exp_avg_sq'}`; nothing before the first step.

        With `to_rank0` only rank 0 keeps them and the others return `{}`; every rank must still call.
        """

    @abstractmethod
    def load_optimizer_state(self, state: OptimizerState) -> None:
        """Take over what `optimizer_state` of any strategy and world size returned.

        Every rank gives the same full state. It must be for exactly the parameters of this phase.
        """

    # --- between processes --------------------------------------------------------------------------------------

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place (the tensor is on `device`)."""
        return processes.all_reduce_sum(tensor)

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """The value rank `source` holds, in place (the tensor is on `device`)."""
        return processes.broadcast(tensor, source)

    def gather_json(self, obj: Any) -> list[Any]:
        """Every rank's JSON-able object, in rank order, on every rank."""
        return processes.gather_json(obj, self.device)

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is raised on any rank: how all ranks agree to stop."""
        if self.world_size == 1:
            return bool(flag)
        return bool(self.all_reduce_sum(torch.tensor([int(flag)], device=self.device)).item())

    def barrier(self) -> None:
        """Wait for every rank."""
        processes.barrier()

    # --- for sub-classes ----------------------------------------------------------------------------------------

    def _take(self, module: nn.Module, param_groups: Sequence[Mapping[str, Any]], accumulation: int,
              grad_clip: float) -> list[dict[str, Any]]:
        """Remember the phase and return the groups as a torch optimizer wants them."""
        assert self._module is None, 'prepare() before release()'
        self._parameters = named_parameters(param_groups)
        self._module, self.accumulation, self.grad_clip = module, accumulation, grad_clip
        return [{key: value for key, value in group.items() if key != 'names'} for group in param_groups]

    def _drop(self) -> None:
        self._module, self.optimizer, self._parameters = None, None, {}

    def _select(self, names: Iterable[str] | None) -> dict[str, nn.Parameter]:
        if names is None:
            return self._parameters
        names = list(names)
        for name in names:
            if name not in self._parameters:
                raise RunError(f"'{name}' is not a parameter that is trained in this phase. "
                               f'{nearest(name, list(self._parameters))}'.strip())
        return {name: self._parameters[name] for name in names}

    def _checked(self, values: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
        """Pairs of parameter and new value; the shapes must agree with the phase's parameters."""
        parameters = self._select(values)
        for name, parameter in parameters.items():
            if values[name].shape != full_shape(parameter):
                raise RunError(f"'{name}' has shape {tuple(full_shape(parameter))}, given {tuple(values[name].shape)}.")
        return [(parameter, values[name].detach()) for name, parameter in parameters.items()]

    def _check_state(self, state: OptimizerState) -> None:
        """A state is for exactly these parameters: no other moments, none missing. An empty state is a fresh start."""
        if not state:
            return
        missing, extra = sorted(set(self._parameters) - set(state)), sorted(set(state) - set(self._parameters))
        if missing or extra:
            kinds = (('not in the saved state', missing), ('not trained in this phase', extra))
            lines = [f'{what}: {", ".join(names[:5])}{" ..." if len(names) > 5 else ""}'
                     for what, names in kinds if names]
            raise RunError(f'The saved optimizer state is for other parameters. {"; ".join(lines)}.')


def full_shape(parameter: Tensor) -> torch.Size:
    """The shape before ZeRO-3 partitioned it."""
    return getattr(parameter, 'ds_shape', parameter.shape)


def named_parameters(param_groups: Sequence[Mapping[str, Any]]) -> dict[str, nn.Parameter]:
    """The groups' parameters by name, in the optimizer's order, checked to be fp32, trainable and named once."""
    parameters: dict[str, nn.Parameter] = {}
    for index, group in enumerate(param_groups):
        if not group['params']:
            raise RunError(f'Parameter group {index} is empty: nothing in it trains.')
        for name, parameter in zip(group['names'], group['params'], strict=True):
            assert name not in parameters, f'{name} is in two groups'
            assert parameter.requires_grad and parameter.dtype == torch.float32, f'{name} must be trainable and fp32'
            parameters[name] = parameter
    if not parameters:
        raise RunError('Nothing trains in this phase: no parameter groups.')
    return parameters
