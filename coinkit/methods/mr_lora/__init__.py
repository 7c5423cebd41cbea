"""MR-LoRA: isolated experts and a router made from the model itself. Imported on first use: it needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coinkit.methods.mr_lora.method import MRLoRA

__all__ = ['MRLoRA']


def __getattr__(name: str) -> Any:
    if name != 'MRLoRA':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from coinkit.methods.mr_lora.method import MRLoRA

    return MRLoRA
