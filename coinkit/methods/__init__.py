"""Continual-learning methods: each is a handful of hooks on the run and the adapter bank.

Plug-in authors may build on the classes here: `from coinkit.methods import FineTune`.
"""

from __future__ import annotations

from coinkit.methods.fine_tune import FineTune
from coinkit.methods.joint import Joint
from coinkit.methods.moelora import MoELoRA
from coinkit.methods.single_task import SingleTask
from coinkit.methods.zero_shot import ZeroShot

__all__ = ['FineTune', 'Joint', 'MoELoRA', 'SingleTask', 'ZeroShot']
