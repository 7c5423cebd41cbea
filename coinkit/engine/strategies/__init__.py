"""How a phase is trained on the machines at hand: one device, data parallel, or DeepSpeed's ZeRO.

Every strategy offers the trainer and the methods one interface (`base.Strategy`), so that the same method is right on
a laptop and on many GPUs. Nothing heavy is imported before a strategy is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.engine.strategies.base import Strategy

__all__ = ['make_strategy', 'resolve']


def resolve(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The strategy config with 'auto' replaced: one device in a single process, DDP under a launcher."""
    from coinkit.engine.processes import Launch

    config = dict(config or {})
    if config.setdefault('type', 'auto') == 'auto':
        config['type'] = 'OneDevice' if Launch.from_environment().world_size == 1 else 'DDP'
    return config


def make_strategy(config: Mapping[str, Any] | None = None, *, device: str = 'auto') -> Strategy:
    """Build the strategy a config asks for, `dict(type='auto')` by default; `device` is the config's top-level key."""
    from coinkit.registry import STRATEGIES

    return STRATEGIES.build({'device': device, **resolve(config)})
