"""The parts of any vision-language model of transformers, found by asking it and by the names its authors gave them.

Some models read a layer of their vision tower that is not its last. What lies behind it never gets a gradient: `unread_in`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

TOWERS = ('vision_tower', 'visual', 'vision_model', 'vision_encoder', 'image_encoder', 'image_tower')
PROJECTORS = ('multi_modal_projector', 'connector', 'mm_projector', 'language_projection', 'merger', 'aligner',
              'vision_projector', 'vision_projection', 'modality_projection', 'embed_vision')
# model types whose projector reads the tower's hidden states at `vision_feature_layer`, and nothing else of it
READS_LAYERS = ('llava', 'llava_next', 'llava_onevision', 'vipllava', 'mistral3', 'aya_vision', 'internvl')
RAW_LAST = ('clip_vision_model', 'siglip_vision_model')  # towers whose last hidden state comes before their last norm


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


def unread_in(model: Any, tower: str) -> tuple[str, ...]:
    """Modules of the vision tower whose output the model does not read; () where it reads all, or nobody knows."""
    config = model.config
    if not tower or config.model_type not in READS_LAYERS:
        return ()
    vision, layers = config.vision_config, config.vision_feature_layer
    count = vision.num_hidden_layers
    stack = next((name for name, module in model.get_submodule(tower).named_modules()
                  if isinstance(module, nn.ModuleList) and len(module) == count), None)
    if stack is None:
        return ()
    deepest = max(layer % (count + 1) for layer in ([layers] if isinstance(layers, int) else layers))  # 0: the embeddings
    stack = f'{tower}.{stack}'
    unread = [f'{stack}.{number}' for number in range(deepest, count)]
    if deepest < count or vision.model_type in RAW_LAST:
        unread += _behind(model, stack, tower)
    return tuple(unread)


def _behind(model: Any, stack: str, tower: str) -> list[str]:
    """What the tower holds behind its layers and trains: norms, a pooling head."""
    found = []
    while stack != tower:
        parent, _, own = stack.rpartition('.')
        children = dict(model.get_submodule(parent).named_children())
        later = list(children)[list(children).index(own) + 1:]
        found += [f'{parent}.{name}' for name in later if next(children[name].parameters(), None) is not None]
        stack = parent
    return found


def linears_of(model: nn.Module, parent: str) -> str:
    """A regular expression that matches the linears inside `parent` and nothing else, by full name."""
    inside = model.get_submodule(parent).named_modules()
    endings = sorted({re.escape(name.rpartition('.')[2]) for name, module in inside if isinstance(module, nn.Linear)})
    return rf"{re.escape(parent)}\.(?:.*\.)?({'|'.join(endings)})"
