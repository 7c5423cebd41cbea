"""Module and parameter names as the released code of a backbone has them, for the adapter folders of that code.

Only LLaVA's differ from the names of coinkit's model: its released code is older than transformers' class. Reading takes
every published form, writing gives the original one. The other backbones have the published names already.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from coinkit.backbones.adapter_files import Names
from coinkit.backbones.llava.names import model_name

if TYPE_CHECKING:
    from coinkit.backbones.base import Backbone

ORIGINAL = {  # of LLaVA, the inverse of what `model_name` does to the original format
    r'^model\.language_model\.': 'model.',
    r'^model\.multi_modal_projector\.linear_1\b': 'model.mm_projector.0',
    r'^model\.multi_modal_projector\.linear_2\b': 'model.mm_projector.2',
    r'^model\.vision_tower\.': 'model.vision_tower.vision_tower.vision_model.',
}


def own_names(backbone: Backbone) -> Names:
    """From a published name to the model's."""
    return model_name if _is_llava(backbone) else str


def published_names(backbone: Backbone) -> Names:
    """From the model's name to the published one."""
    return _original if _is_llava(backbone) else str


def _is_llava(backbone: Backbone) -> bool:
    from coinkit.backbones.llava import Llava

    return isinstance(backbone, Llava)


def _original(name: str) -> str:
    for pattern, replacement in ORIGINAL.items():
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name
