"""Run a model with other values of its parameters, without a second model and without touching the parameters.

Each module that owns a replaced parameter sees the other tensor inside its own forward only. That is where ZeRO-3 has
gathered what it partitions, so it works under every strategy; optimizer, gradients and autograd graphs know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def with_values(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Forwards inside read `values[name]` instead of the parameter of that name, and build no graph."""
    others = {id(parameter): values[name] for name, parameter in model.named_parameters() if name in values}
    handles = []
    for module in model.modules():
        own = {key: others[id(p)] for key, p in module._parameters.items() if p is not None and id(p) in others}
        if own:
            swap = _Swap(own)
            handles.append(module.register_forward_pre_hook(swap.put_in))
            # before any other hook, and also when the forward fails: the module must be whole again
            handles.append(module.register_forward_hook(swap.take_out, prepend=True, always_call=True))
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Swap:
    """The exchange in one module."""

    def __init__(self, own: Mapping[str, Tensor]):
        self.own = own
        self.kept: dict[str, nn.Parameter] = {}

    def put_in(self, module: nn.Module, args: Any) -> None:
        self.kept = {key: module._parameters[key] for key in self.own}
        module._parameters.update(self.own)

    def take_out(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.kept:
            module._parameters.update(self.kept)
            self.kept = {}
