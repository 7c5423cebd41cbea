"""LLaVA-1.5 in the original format: its config.json, or Vicuna's, as the LlavaConfig of the same model.

The published config holds the language model's fields at top level and `mm_*` fields beside them. The vision tower's
sizes come from its own folder, from a `vision_config`, or are those of CLIP-L/336. Choices that LLaVA-1.5 does not have
(one linear as projector, start and end tokens around a picture, tiles) are problems, not guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.backbones.weights import read_json
from coinkit.errors import Problem

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, LlavaConfig

TEXT_FIELDS = (
    'vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_key_value_heads',
    'head_dim', 'hidden_act', 'max_position_embeddings', 'initializer_range', 'rms_norm_eps', 'rope_theta', 'rope_scaling',
    'rope_parameters', 'attention_bias', 'attention_dropout', 'mlp_bias', 'tie_word_embeddings', 'bos_token_id',
    'eos_token_id', 'pad_token_id')
VISION_FIELDS = (
    'hidden_size', 'intermediate_size', 'projection_dim', 'num_hidden_layers', 'num_attention_heads', 'num_channels',
    'patch_size', 'image_size', 'hidden_act', 'layer_norm_eps', 'attention_dropout')
CLIP_L_336 = {'hidden_size': 1024, 'intermediate_size': 4096, 'projection_dim': 768, 'num_hidden_layers': 24,
              'num_attention_heads': 16, 'patch_size': 14, 'image_size': 336}
KEPT = ('tokenizer_model_max_length', 'tokenizer_padding_side')  # what the published forward reads of the config
SELECT = {'patch': 'default', 'cls_patch': 'full'}  # its names of the features, and transformers'
SUPPORTED = {  # field: what LLaVA-1.5 has; the first is meant when the field is missing
    'mm_projector_type': ('mlp2x_gelu',),
    'mm_vision_select_feature': tuple(SELECT),
    'mm_patch_merge_type': ('flat',),
    'mm_use_im_start_end': (False,),
    'mm_use_im_patch_token': (False,),
    'mm_resampler_type': (None,),
}
PLACEHOLDER = 0  # <unk>, as transformers' picture id: the vocabulary keeps its size


def field_problems(file: Path, fields: Mapping[str, Any]) -> list[Problem]:
    """Fields that say another model than LLaVA-1.5."""
    return [Problem(f'{file}: {name}', f'{fields[name]!r} is not supported, allowed: {", ".join(map(repr, allowed))}.',
                    'LLaVA-1.0 and 1.6 are other models; --mini runs without any.')
            for name, allowed in SUPPORTED.items() if fields.get(name, allowed[0]) not in allowed]


def original_config(config: Mapping[str, Any], *, picture: Mapping[str, Any], vision_tower: Path | None) -> LlavaConfig:
    """From config.json; `picture` holds the `mm_*` fields, and is the same dict but for a language model alone."""
    from transformers import LlamaConfig, LlavaConfig

    text = LlamaConfig(**_chosen(config, TEXT_FIELDS))
    vision = vision_config(config, vision_tower)
    strategy = SELECT[picture.get('mm_vision_select_feature', 'patch')]
    slots = (vision.image_size // vision.patch_size) ** 2 + (strategy == 'full')
    return LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=PLACEHOLDER, image_seq_length=slots,
        vision_feature_layer=picture.get('mm_vision_select_layer', -2), vision_feature_select_strategy=strategy,
        projector_hidden_act='gelu', bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id, tie_word_embeddings=text.tie_word_embeddings, **_chosen(config, KEPT))


def vision_config(config: Mapping[str, Any], vision_tower: Path | None) -> CLIPVisionConfig:
    """The tower's sizes: its own folder's word, then the checkpoint's, then CLIP-L/336."""
    from transformers import CLIPVisionConfig

    given: Mapping[str, Any] = config.get('vision_config') or CLIP_L_336
    if vision_tower is not None:
        given = read_json(vision_tower / 'config.json')
        given = given.get('vision_config') or given  # a whole CLIP keeps its tower's sizes one level down
    return CLIPVisionConfig(**_chosen(given, VISION_FIELDS))


def _chosen(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: fields[name] for name in names if fields.get(name) is not None}
