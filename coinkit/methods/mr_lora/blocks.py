"""MR-LoRA's two blocks in one bank, the expert and the router: where they sit, and the router put in the expert's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from coinkit.errors import ConfigError, Problem
from coinkit.nn.adapter_folder import load_adapter, split_tensors

START = '00-zero-shot'  # the stage of theta_0
EXPERT, ROUTER = 'expert', 'routing'


def with_tower(backbone: Any, targets: str | list[str] | None) -> list[str]:
    """The linears that `targets` means, and those of the vision tower."""
    if not backbone.vision_tower:
        raise ConfigError(Problem('methods: vision_lora', f'{type(backbone).__name__} names no vision tower.',
                                  'Set vision_lora=False, or name the linears in targets.'))
    tower = [name for name, module in backbone.model.named_modules()
             if name.startswith(f'{backbone.vision_tower}.') and hasattr(module, 'in_features')]
    return list(dict.fromkeys([*backbone.find_targets(targets), *tower]))


def trained_outside(state: Any) -> dict[str, Tensor]:
    """What trains outside the bank (the projector), as it was at the start of the run."""
    return split_tensors(load_adapter(state.run.adapter(START))[0])[1]


@contextmanager
def router_in_place(state: Any, start: Mapping[str, Tensor]) -> Iterator[None]:
    """The stage's router in the model, over the projector `start`; afterwards the expert again."""
    bank, parameters = state.bank, dict(state.backbone.model.named_parameters())
    active, own = bank.active, {name: parameters[name].detach().clone() for name in start}
    try:
        bank.set_active([ROUTER, *(name for name in active if name != EXPERT)])
        _copy(start, parameters)
        yield
    finally:
        _copy(own, parameters)
        bank.set_active(active)


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
