"""LLaVA-1.5."""

from coinkit.backbones.llava.backbone import Llava

__all__ = ['Llava']
