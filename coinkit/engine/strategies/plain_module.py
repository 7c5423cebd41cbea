"""Take DeepSpeed's marks off a module again.

DeepSpeed hangs attributes on parameters and modules, swaps `_parameters` for a class of its own and registers hooks,
and `engine.destroy()` leaves most of that in place; a second `initialize` on the same module would trip over it, and
the old engine would stay in memory. So the module's plain form is noted before and restored after.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_HOOK_DICTS = ('_forward_hooks', '_forward_pre_hooks', '_forward_hooks_with_kwargs', '_forward_hooks_always_called',
               '_forward_pre_hooks_with_kwargs', '_backward_hooks', '_backward_pre_hooks')


class PlainForm:
    """How a module looked before DeepSpeed had it."""

    def __init__(self, module: nn.Module):
        self._module = module
        self._attributes: dict[nn.Module, set[str]] = {child: set(vars(child)) for child in module.modules()}
        self._hooks = {child: {name: dict(getattr(child, name)) for name in _HOOK_DICTS} for child in module.modules()}
        self._marks: dict[int, set[str]] = {id(p): set(vars(p)) for p in module.parameters()}

    def restore(self, values: Mapping[nn.Parameter, Tensor]) -> None:
        """Plain parameters, attributes and hooks again; `values` are the parameters' full tensors."""
        for parameter, value in values.items():
            _strip(parameter, self._marks[id(parameter)])
            parameter.data = value
            parameter.grad = None
        for child, names in self._attributes.items():
            child._parameters = {key: value for key, value in child._parameters.items()}
            _strip(child, names)
            for name, hooks in self._hooks[child].items():
                current = getattr(child, name)
                for key in [key for key in current if key not in hooks]:
                    del current[key]


def _strip(thing: Any, names: set[str]) -> None:
    for name in [name for name in vars(thing) if name not in names]:
        delattr(thing, name)


@torch.no_grad()
def full_values(module: nn.Module) -> dict[nn.Parameter, Tensor]:
    """Every parameter's full tensor, free of DeepSpeed's flat buffers, gathering what stage 3 has partitioned."""
    from deepspeed.runtime.zero import GatheredParameters

    values = {}
    for parameter in module.parameters():
        if hasattr(parameter, 'ds_id'):
            with GatheredParameters([parameter]):
                values[parameter] = parameter.data.clone()
        elif parameter.untyped_storage().nbytes() > parameter.nbytes:
            values[parameter] = parameter.data.clone()
        else:
            values[parameter] = parameter.data
    return values


def forget(module: nn.Module) -> None:
    """Drop the module from what stage 3 keeps for the life of the process: a list, and a method's unbounded cache."""
    from deepspeed.runtime.zero import parameter_offload
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator

    parameter_offload.FWD_MODULE_STACK[:] = [m for m in parameter_offload.FWD_MODULE_STACK if m is not module]
    cached = vars(PartitionedParameterCoordinator).get('_PartitionedParameterCoordinator__params_to_release')
    for function in inspect.getclosurevars(cached).nonlocals.values() if cached else ():
        if hasattr(function, 'cache_clear'):
            function.cache_clear()
