"""MiniGPT-v2, native: its own picture tower and transformers' Llama under the official names.

The class loads on first use, so that checking a config does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.backbones.minigpt_v2.backbone import MiniGPTv2

__all__ = ['MiniGPTv2']


def __getattr__(name: str) -> Any:
    if name != 'MiniGPTv2':
        raise AttributeError(f"module 'coinkit.backbones.minigpt_v2' has no attribute '{name}'")
    from coinkit.backbones.minigpt_v2.backbone import MiniGPTv2

    return MiniGPTv2
