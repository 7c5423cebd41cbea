"""The original Qwen-VL."""

from coinkit.backbones.qwen_vl.backbone import QwenVL

__all__ = ['QwenVL']
