"""The golden model as a user may have it: hub format, original format with and without its tower, and as three parts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[2] / 'golden'
LLAVA = GOLDEN / 'llava15'
TOWER = 'model.vision_tower.vision_tower.'


def golden_config() -> dict[str, Any]:
    return json.loads((LLAVA / 'config.json').read_text())


def golden_weights() -> dict[str, torch.Tensor]:
    return load_file(LLAVA / 'weights.safetensors')


def write_folder(folder: Path, config: dict[str, Any]) -> Path:
    """A folder with config.json and the tokenizer."""
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(config))
    shutil.copy(GOLDEN / 'tokenizer_llama_tiny' / 'tokenizer.model', folder)
    (folder / 'tokenizer_config.json').write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
    return folder


def write_original(folder: Path) -> Path:
    """config.json, all weights under official names and the tokenizer."""
    shutil.copy(LLAVA / 'weights.safetensors', write_folder(folder, golden_config()))
    return folder


def write_tower(folder: Path) -> Path:
    """A whole CLIP, as openai/clip-vit-large-patch14-336: text model, projections and an old buffer included."""
    folder.mkdir(parents=True)
    vision = golden_config()['vision_config']
    config = {'model_type': 'clip', 'projection_dim': 24, 'vision_config': vision, 'text_config': {'hidden_size': 8}}
    (folder / 'config.json').write_text(json.dumps(config))
    tensors = {name.removeprefix(TOWER): one for name, one in golden_weights().items() if name.startswith(TOWER)}
    tensors |= {'vision_model.embeddings.position_ids': torch.arange(17)[None], 'logit_scale': torch.zeros(()),
                'text_model.final_layer_norm.weight': torch.zeros(8), 'text_projection.weight': torch.zeros(24, 8),
                'visual_projection.weight': torch.zeros(24, 32)}
    torch.save(tensors, folder / 'pytorch_model.bin')
    return folder


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], count: int = 3) -> None:
    """`tensors` as numbered .bin files with their index."""
    where = {name: f'pytorch_model-{number % count + 1:05d}-of-{count:05d}.bin' for number, name in enumerate(tensors)}
    for file in set(where.values()):
        torch.save({name: tensors[name] for name in where if where[name] == file}, folder / file)
    (folder / 'pytorch_model.bin.index.json').write_text(json.dumps({'weight_map': where}))


@pytest.fixture(scope='session')
def original_folder(tmp_path_factory) -> Path:
    return write_original(tmp_path_factory.mktemp('original') / 'llava')


@pytest.fixture(scope='session')
def parts(tmp_path_factory) -> dict[str, str]:
    """CoIN's starting point: a language model in shards, a CLIP, and the pre-training's projector."""
    root = tmp_path_factory.mktemp('parts')
    text = {name: value for name, value in golden_config().items() if not name.startswith('mm_')}
    text = {name: value for name, value in text.items() if name not in ('vision_config', 'image_processor', 'use_mm_proj')}
    vicuna = write_folder(root / 'vicuna', text | {'model_type': 'llama', 'architectures': ['LlamaForCausalLM']})
    tensors = {name: one for name, one in golden_weights().items() if 'vision_tower' not in name and 'mm_pro' not in name}
    tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = torch.zeros(8)  # old files have this buffer
    write_shards(vicuna, tensors)
    projector = {f'base_model.{name}': one for name, one in load_file(LLAVA / 'mm_projector.safetensors').items()}
    (root / 'projector').mkdir()
    torch.save(projector, root / 'projector' / 'mm_projector.bin')
    return dict(checkpoint=str(vicuna), vision_tower=str(write_tower(root / 'clip')),
                projector=str(root / 'projector' / 'mm_projector.bin'))


@pytest.fixture(scope='session')
def forms(tiny_llava_folder, original_folder, parts, tmp_path_factory) -> dict[str, dict[str, str]]:
    """Arguments of `Llava` for each form."""
    bare = golden_config()
    del bare['vision_config']
    outside = write_folder(tmp_path_factory.mktemp('outside') / 'llava', bare)
    write_shards(outside, {name: one for name, one in golden_weights().items() if 'vision_tower' not in name})
    return {'hub': dict(checkpoint=str(tiny_llava_folder)), 'original': dict(checkpoint=str(original_folder)),
            'original, tower outside': dict(checkpoint=str(outside), vision_tower=parts['vision_tower']),
            'language model, tower, projector': parts}
