"""Continual-learning methods: each is a handful of hooks on the run and the adapter bank.

Plug-in authors may build on the classes here: `from coinkit.methods import FineTune`.
"""

from __future__ import annotations

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
