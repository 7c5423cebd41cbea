"""The original Qwen-VL.

The class loads on first use, so that checking a config does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.backbones.qwen_vl.backbone import QwenVL

__all__ = ['QwenVL']


def __getattr__(name: str) -> Any:
    if name != 'QwenVL':
        raise AttributeError(f"module 'coinkit.backbones.qwen_vl' has no attribute '{name}'")
    from coinkit.backbones.qwen_vl.backbone import QwenVL

    return QwenVL
