"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL on transformers' classes.

Their positions have three axes, so the model must know which tokens are pictures: `mm_token_type_ids` is part of every
row. (Without it Qwen2.5-VL silently counts in one dimension and answers differently.) Pictures keep their shape and cost
tokens by area: `min_pixels` and `max_pixels` bound them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coinkit.backbones.processors import QwenProcessor
from coinkit.backbones.transformers_model import TransformersBackbone
from coinkit.errors import Problem, raise_problems


class Qwen2VL(TransformersBackbone):
    """Qwen2-VL."""

    processor_kind = QwenProcessor

    def __init__(self, checkpoint: str, *, dtype: str = 'bfloat16', template: str | None = None,
                 max_length: int | None = None, min_pixels: int | None = None, max_pixels: int | None = None,
                 attn: str = 'auto', device: str = 'auto', lora_scope: str = 'language',
                 lora_targets: str | Sequence[str] | None = None,
                 init_seed: int | None = None, quantization: str | None = None,
                 key_mapping: Mapping[str, str] | None = None):
        raise_problems(_pixel_problems(min_pixels, max_pixels))
        super().__init__(checkpoint, dtype=dtype, template=template, max_length=max_length, attn=attn, device=device,
                         lora_scope=lora_scope, lora_targets=lora_targets, init_seed=init_seed, quantization=quantization,
                         key_mapping=key_mapping)
        self.processor.limit_pixels(min_pixels, max_pixels)

    @classmethod
    def preflight(cls, checkpoint: str = '', **config: Any) -> list[Problem]:
        wrong = _pixel_problems(config.get('min_pixels'), config.get('max_pixels'))
        return wrong + super().preflight(checkpoint, **config)


class Qwen25VL(Qwen2VL):
    """Qwen2.5-VL."""


class Qwen3VL(Qwen2VL):
    """Qwen3-VL."""


def _pixel_problems(fewest: int | None, most: int | None) -> list[Problem]:
    found = [Problem(f'backbone.{name}', f'{value} given, at least 1 allowed.')
             for name, value in (('min_pixels', fewest), ('max_pixels', most)) if value is not None and value < 1]
    if fewest and most and fewest > most:
        found.append(Problem('backbone.min_pixels', f'{fewest} is more than max_pixels={most}.'))
    return found
