"""LLaVA-1.5.

The class loads on first use, so that checking a config does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.backbones.llava.backbone import Llava

__all__ = ['Llava']


def __getattr__(name: str) -> Any:
    if name != 'Llava':
        raise AttributeError(f"module 'coinkit.backbones.llava' has no attribute '{name}'")
    from coinkit.backbones.llava.backbone import Llava

    return Llava
