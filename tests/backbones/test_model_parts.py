"""Which modules of a vision tower are not read: those that get no gradient, and no others."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import transformers

from coinkit.backbones.model_parts import find_parts, unread_in
from tests.backbones.tiny_transformers import MIXED, TEXT, batch_of, load

PICTURE = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=4)
CLIP, SIGLIP = dict(model_type='clip_vision_model', **PICTURE), dict(model_type='siglip_vision_model', **PICTURE)
PIXTRAL = dict(model_type='pixtral', **PICTURE)
INTERN = PICTURE | dict(image_size=[16, 16], patch_size=[4, 4])
GRID, PATCHES = dict(image_grid_pinpoints=[[16, 16], [16, 32]]), dict(pixel_values=torch.rand(1, 2, 3, 16, 16))
SIZE = dict(image_sizes=torch.tensor([[16, 16]]))


def model_of(kind: str, tower: dict, layer: int | list[int], **more):
    text = dict(TEXT, model_type='llama', vocab_size=64)
    picked = 'default' if tower in (CLIP, INTERN) else 'full'  # those two have a class token
    config = getattr(transformers, f'{kind}Config')(text_config=text, vision_config=tower, vision_feature_layer=layer,
                                                    vision_feature_select_strategy=picked, **more)
    return getattr(transformers, f'{kind}ForConditionalGeneration')(config)


def without_gradient(model) -> set[str]:
    return {name for name, one in model.named_parameters() if one.grad is None and name.startswith('model.vision_tower.')}


@pytest.mark.parametrize(('kind', 'tower', 'layer', 'more', 'inputs'), [
    ('Llava', CLIP, -2, {}, {}), ('Llava', CLIP, -1, {}, {}), ('Llava', CLIP, [1, 2], {}, {}), ('Llava', SIGLIP, -2, {}, {}),
    ('Llava', SIGLIP | dict(vision_use_head=False), -1, {}, {}), ('Llava', PIXTRAL, -2, {}, SIZE),
    ('Llava', PIXTRAL, -1, {}, SIZE), ('VipLlava', CLIP, [-2, 1], {}, {}), ('LlavaNext', CLIP, -2, GRID, PATCHES | SIZE),
    ('LlavaOnevision', SIGLIP, -1, GRID, PATCHES | SIZE), ('AyaVision', SIGLIP, -3, dict(downsample_factor=2), {}),
    ('Mistral3', PIXTRAL, -2, dict(spatial_merge_size=2), SIZE), ('InternVL', INTERN, -1, {}, {}),
    ('InternVL', INTERN, -2, {}, {})])
def test_unread_is_what_gets_no_gradient(kind, tower, layer, more, inputs) -> None:
    model = model_of(kind, tower, layer, **more)
    found = model.get_image_features(**{'pixel_values': torch.rand(1, 3, 16, 16)} | inputs, return_dict=True).pooler_output
    sum(each.sum() for each in found).backward()
    unread = unread_in(model, find_parts(model).vision_tower)
    inside = {name for name, _ in model.named_parameters() if name.startswith(tuple(f'{one}.' for one in unread))}
    unused = {'model.vision_tower.embeddings.mask_token'} if kind == 'InternVL' else set()  # of masked pre-training
    assert inside == without_gradient(model) - unused


def test_nothing_is_said_of_models_that_read_otherwise(backbone_of) -> None:
    for kind in ('qwen2_vl', 'idefics3', 'instructblip'):
        assert backbone_of(kind).unread == ()


def test_a_folder_that_reads_the_last_layer_but_one(folder_of, tmp_path) -> None:
    """A whole step: what is not read gets no adapter, and `all-linear` adapts every linear that gets a gradient."""
    folder = shutil.copytree(folder_of('llava_onevision'), tmp_path / 'llava_onevision')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'vision_feature_layer': -2}))
    backbone = load(folder, lora_scope='all')
    assert backbone.unread == ('model.vision_tower.encoder.layers.1', 'model.vision_tower.post_layernorm')
    backbone.model.requires_grad_(True)
    backbone.forward(batch_of(backbone, MIXED[:1])).token_loss_N.sum().backward()
    assert {name for name in without_gradient(backbone.model) if not name.startswith(backbone.unread)} == set()
    targets = backbone.insert_bank().targets
    assert any('vision_tower.encoder.layers.0.' in name for name in targets)
    assert not any(name.startswith(backbone.unread) for name in targets)
