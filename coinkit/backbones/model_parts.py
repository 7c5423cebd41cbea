"""The parts of any vision-language model of transformers, found by asking it and by the names its authors gave them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

TOWERS = ('vision_tower', 'visual', 'vision_model', 'vision_encoder', 'image_encoder', 'image_tower')
PROJECTORS = ('multi_modal_projector', 'connector', 'mm_projector', 'language_projection', 'merger', 'aligner',
              'vision_projector', 'vision_projection', 'modality_projection', 'embed_vision')


@dataclass(frozen=True)
class Parts:
    """Module names; '' where a model has no such part or calls it something unheard of."""

    language_model: str
    vision_tower: str
    projector: str
    head: str

    @property
    def language_owner(self) -> str:
        """The module that holds the head: called without pictures, it continues a text."""
        return self.head.rpartition('.')[0]


def find_parts(model: Any) -> Parts:
    """The parts of a transformers model with a causal language model inside."""
    names = {module: name for name, module in model.named_modules()}
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    while head in set(decoder.modules()) and decoder.get_decoder() is not decoder:
        decoder = decoder.get_decoder()  # some give the language model with its head
    return Parts(names[decoder], _shallowest(model, TOWERS), _shallowest(model, PROJECTORS),
                 names[head])


def _shallowest(model: nn.Module, wanted: tuple[str, ...]) -> str:
    found = [name for name, _ in model.named_modules() if name.rpartition('.')[2] in wanted]
    return min(found, key=lambda name: (name.count('.'), wanted.index(name.rpartition('.')[2])), default='')


def linears_of(model: nn.Module, parent: str) -> str:
    """A regular expression that matches the linears inside `parent` and nothing else, by full name."""
    inside = model.get_submodule(parent).named_modules()
    endings = sorted({re.escape(name.rpartition('.')[2]) for name, module in inside if isinstance(module, nn.Linear)})
    return rf"{re.escape(parent)}\.(?:.*\.)?({'|'.join(endings)})"
