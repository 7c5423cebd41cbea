"""Full fp32 tensors in and out of ZeRO's partitions, exactly.

DeepSpeed keeps, per rank, a slice of each parameter's value, gradient and optimizer state inside flat tensors. Its
`safe_get_full_*` calls reduce one parameter at a time, and at stage 3 `safe_set_full_*` fails when a parameter does not
divide by the number of ranks. Here the *local* slice is read and written through DeepSpeed's own mapping, and slices
are put together in large buffers. The sum over ranks runs on the bits (int32: one rank gives them, all others zero),
so what comes out is what went in, down to the sign of a zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from coinkit.engine.strategies.base import OptimizerState, full_shape
from coinkit.errors import RunError

GATHER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Slice:
    """This rank's part of one parameter: where it starts in the parameter, and where it lies in its flat tensor."""

    start: int
    numel: int
    flat: Tensor
    flat_start: int

    def of(self, flat: Tensor) -> Tensor:
        """The same place in a tensor laid out like `flat`: a moment of the optimizer."""
        return flat.narrow(0, self.flat_start, self.numel)


class Shards(ABC):
    """The partitions of one DeepSpeed optimizer."""

    def __init__(self, zero_optimizer: Any, device: torch.device):
        self.zero = zero_optimizer
        self.device = device

    @abstractmethod
    def slice_of(self, parameter: nn.Parameter) -> Slice | None:
        """Where this rank holds the parameter, or None."""

    @abstractmethod
    def grad_of(self, parameter: nn.Parameter) -> Tensor:
        """The reduced gradient of this rank's slice; a view where DeepSpeed keeps it on the device."""

    @abstractmethod
    def set_grad(self, parameter: nn.Parameter, full: Tensor) -> None:
        """Replace this rank's slice of the gradient."""

    @abstractmethod
    def set_value(self, parameter: nn.Parameter, full: Tensor) -> None:
        """Replace this rank's slice of the master value, and what the forward reads."""

    @abstractmethod
    def flats(self) -> list[Tensor]:
        """The flat tensors the wrapped torch optimizer steps."""

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        return self.zero.optimizer.state

    # --- gathering ----------------------------------------------------------------------------------------------

    def grads(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        return dict(self._gather(parameters, lambda parameter, part: self.grad_of(parameter)))

    def values(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        return dict(self._gather(parameters, lambda parameter, part: part.of(part.flat.detach())))

    def _gather(self, parameters: Mapping[str, nn.Parameter], local: Callable[[nn.Parameter, Slice], Tensor],
                ) -> Iterator[tuple[str, Tensor]]:
        for names in _batches(parameters):
            sizes = [full_shape(parameters[name]).numel() for name in names]
            buffer = torch.zeros(sum(sizes), dtype=torch.float32, device=self.device)
            for name, view in zip(names, buffer.split(sizes), strict=True):
                part = self.slice_of(parameters[name])
                if part is not None:
                    source = local(parameters[name], part).reshape(-1)[:part.numel]
                    view[part.start:part.start + part.numel].copy_(source)
            dist.all_reduce(buffer.view(torch.int32))
            for name, view in zip(names, buffer.split(sizes), strict=True):
                yield name, view.view(full_shape(parameters[name])).clone()

    # --- optimizer state ----------------------------------------------------------------------------------------

    def state_keys(self) -> tuple[list[str], dict[str, Tensor]]:
        """Names of the sharded entries, and the values of those that are whole (the step). Equal on every rank."""
        for flat in self.flats():
            entries = self.state.get(flat)
            if entries:
                sharded = [key for key, value in entries.items() if _like(value, flat)]
                whole = {key: torch.as_tensor(value).detach().cpu() for key, value in entries.items()
                         if key not in sharded}
                return sharded, whole
        return [], {}

    def optimizer_state(self, parameters: Mapping[str, nn.Parameter], *, keep: bool) -> dict[str, dict[str, Tensor]]:
        """Full state by name on the CPU; without `keep` this rank only takes part in the gathering."""
        sharded, whole = self.state_keys()
        if not sharded and not whole:
            return {}
        state = {name: {key: value.clone() for key, value in whole.items()} for name in parameters} if keep else {}
        for key in sharded:
            for name, full in self._gather(parameters, lambda parameter, part, key=key:
                                           part.of(self.state[part.flat][key])):
                if keep:
                    state[name][key] = full.cpu()
        return state

    def load_optimizer_state(self, parameters: Mapping[str, nn.Parameter], state: OptimizerState) -> None:
        """Write full state into the partitions, creating what DeepSpeed would create in its first step."""
        self.state.clear()
        if not any(state.values()):
            return
        whole = _common_whole_entries(parameters, state)
        on_device = any(group.get('fused') or group.get('capturable') for group in self.zero.optimizer.param_groups)
        for flat in self.flats():
            self.state[flat] = {key: value.to(flat.device if on_device else 'cpu', copy=True)
                                for key, value in whole.items()}
        for name, parameter in parameters.items():
            part = self.slice_of(parameter)
            for key, full in state[name].items() if part is not None else ():
                if key not in whole:
                    target = self.state[part.flat].setdefault(key, torch.zeros_like(part.flat, requires_grad=False))
                    part.of(target).copy_(full.reshape(-1)[part.start:part.start + part.numel])


class PartitionedOptimizer(Shards):
    """Stages 1 and 2: parameters are whole on every rank; master values, gradients and state are sliced.

    A slice may start or end inside a parameter; DeepSpeed's `_hp_mapping` says where.
    """

    def slice_of(self, parameter: nn.Parameter) -> Slice | None:
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        whole, flat = mapping.lp_fragment_address, mapping.hp_fragment_address
        return Slice(whole.start, whole.numel, self.flats()[mapping.param_group_index], flat.start)

    def grad_of(self, parameter: nn.Parameter) -> Tensor:
        return parameter._hp_mapping.get_lp_grad_fragment(parameter._index_in_param_group)

    def set_grad(self, parameter: nn.Parameter, full: Tensor) -> None:
        part = self.slice_of(parameter)
        if part is None:
            return
        grad = self.grad_of(parameter)
        grad.copy_(full.reshape(-1)[part.start:part.start + part.numel].view_as(grad))
        if self.zero.cpu_offload:  # the norm to clip by was taken when the gradient went to the CPU
            self.zero.norm_for_param_grads[self.zero.get_param_id(parameter)] = grad.double().norm(2)

    def set_value(self, parameter: nn.Parameter, full: Tensor) -> None:
        parameter.data.copy_(full)
        part = self.slice_of(parameter)
        if part is not None:
            part.of(part.flat.data).copy_(full.reshape(-1)[part.start:part.start + part.numel])

    def flats(self) -> list[Tensor]:
        return self.zero.single_partition_of_fp32_groups


class PartitionedParameters(Shards):
    """Stage 3: every parameter is cut into equal slices, the last ones padded; rank r holds slice r."""

    def slice_of(self, parameter: nn.Parameter) -> Slice | None:
        group, flat_start, padded = self.zero.grad_position[self.zero.get_param_id(parameter)]
        start = padded * dist.get_rank()
        numel = min(padded, parameter.ds_numel - start)
        return Slice(start, numel, self.flats()[group], flat_start) if numel > 0 else None

    def grad_of(self, parameter: nn.Parameter) -> Tensor:
        return self.zero.get_local_fp32_grad_for_param(parameter)

    def set_grad(self, parameter: nn.Parameter, full: Tensor) -> None:
        self.zero.set_local_grad_for_param(self._padded(parameter, full), parameter)

    def set_value(self, parameter: nn.Parameter, full: Tensor) -> None:
        local = self._padded(parameter, full)
        self.zero.set_local_hp_param(local, parameter)
        parameter.ds_tensor.data.copy_(local)
        if parameter.numel() == parameter.ds_numel:  # small parameters stay gathered between steps
            parameter.data.copy_(full)

    def _padded(self, parameter: nn.Parameter, full: Tensor) -> Tensor:
        size = math.ceil(parameter.ds_numel / dist.get_world_size())
        start = size * dist.get_rank()
        local = torch.zeros(size, dtype=torch.float32, device=self.device)
        part = full.reshape(-1)[start:start + size]
        local[:part.numel()].copy_(part)
        return local

    def flats(self) -> list[Tensor]:
        return self.zero.fp32_partitioned_groups_flat


def _batches(parameters: Mapping[str, nn.Parameter]) -> Iterable[list[str]]:
    """Names in batches of about GATHER_BYTES; the same on every rank."""
    batch: list[str] = []
    size = 0
    for name, parameter in parameters.items():
        batch.append(name)
        size += full_shape(parameter).numel() * 4
        if size >= GATHER_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _like(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape


def _common_whole_entries(parameters: Mapping[str, nn.Parameter], state: OptimizerState) -> dict[str, Tensor]:
    """Entries that are not per element, such as the step: ZeRO has one for all, so they must agree."""
    common: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for key, value in state[name].items():
            if key != 'step' and value.shape == full_shape(parameter):
                continue
            if not torch.equal(common.setdefault(key, value), value):
                raise RunError(f"The saved optimizer state has '{key}' {value.tolist()} for {name} and "
                               f'{common[key].tolist()} for others; ZeRO keeps one for all parameters.')
    return common
