"""Tensor names of LLaVA-1.5 in every form it is published in, as transformers' names.

Hub folders changed theirs twice; the original format has its own; a stand-alone CLIP and the projector of the first
training stage come with names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RENAMES = {  # the first pattern that fits renames
    r'^model\.vision_tower\.(vision_tower\.)?vision_model\.': 'model.vision_tower.',  # original, and hub of 2025
    r'^model\.mm_projector\.0\.': 'model.multi_modal_projector.linear_1.',
    r'^model\.mm_projector\.2\.': 'model.multi_modal_projector.linear_2.',
    r'^model\.(embed_tokens|layers|norm)\b': r'model.language_model.\1',
    r'^language_model\.model\.': 'model.language_model.',  # hub, as first published
    r'^language_model\.lm_head\.': 'lm_head.',
    r'^vision_tower\.(vision_model\.)?': 'model.vision_tower.',
    r'^multi_modal_projector\.': 'model.multi_modal_projector.',
}
TOWER, PROJECTOR = 'model.vision_tower.', 'model.multi_modal_projector.'
CLIP_OTHERS = ('text_model.', 'text_projection.', 'visual_projection.', 'logit_scale')  # no part of the vision tower


def model_name(name: str, key_mapping: Mapping[str, str] | None = None) -> str:
    """The model's name of a checkpoint's tensor; `key_mapping` (pattern to replacement) goes first."""
    for pattern, replacement in (key_mapping or {}).items():
        name = re.sub(pattern, replacement, name)
    for pattern, replacement in RENAMES.items():
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name


def tower_name(name: str) -> str | None:
    """The model's name of a tensor of a stand-alone CLIP; None for those that no vision tower has."""
    return None if name.startswith(CLIP_OTHERS) else TOWER + name.removeprefix('vision_model.')


def projector_name(name: str) -> str | None:
    """The model's name of a tensor of mm_projector.bin, whatever stands before `mm_projector.`; None for others."""
    _, found, rest = name.partition('mm_projector.')
    return model_name(f'model.mm_projector.{rest}') if found else None
