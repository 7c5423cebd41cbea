"""Continual-learning methods: each is a handful of hooks on the run and the adapter bank.

Plug-in authors may build on the classes here: `from coinkit.methods import FineTune`. They are imported on first use:
checking a config reads a method's signature from its source, and must not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.methods.cia import CIA
    from coinkit.methods.dynamic_ema import DynamicEMA
    from coinkit.methods.fine_tune import FineTune
    from coinkit.methods.instruction_groups import InstructionGroups
    from coinkit.methods.joint import Joint
    from coinkit.methods.lwf import LwF
    from coinkit.methods.mas import MAS
    from coinkit.methods.moelora import MoELoRA
    from coinkit.methods.mr_lora import MRLoRA
    from coinkit.methods.olora import OLoRA
    from coinkit.methods.replay import Replay
    from coinkit.methods.single_task import SingleTask
    from coinkit.methods.zero_shot import ZeroShot

__all__ = ['CIA', 'DynamicEMA', 'FineTune', 'InstructionGroups', 'Joint', 'LwF', 'MAS', 'MRLoRA', 'MoELoRA', 'OLoRA',
           'Replay', 'SingleTask', 'ZeroShot']
_MODULES = {'CIA': 'cia', 'DynamicEMA': 'dynamic_ema', 'FineTune': 'fine_tune', 'InstructionGroups': 'instruction_groups',
            'Joint': 'joint', 'LwF': 'lwf', 'MAS': 'mas', 'MRLoRA': 'mr_lora', 'MoELoRA': 'moelora', 'OLoRA': 'olora',
            'Replay': 'replay', 'SingleTask': 'single_task', 'ZeroShot': 'zero_shot'}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
