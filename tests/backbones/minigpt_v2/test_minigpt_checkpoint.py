"""MiniGPT-v2's files: one folder or three parts, and what is wrong with a bad one."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from coinkit.backbones.inject import find_targets
from coinkit.backbones.minigpt_v2 import MiniGPTv2
from coinkit.backbones.minigpt_v2.checkpoint import resolve
from coinkit.backbones.minigpt_v2.tensors import Computed, model_tensors, official_name, resized_positions
from coinkit.errors import CoinkitError, ConfigError
from coinkit.registry import BACKBONES
from tests.backbones.minigpt_v2.tiny import GOLDEN, with_tiny_sizes, write_parts

TINY = dict(dtype='float32', device='cpu')


def same(backbone, other) -> bool:
    mine, its = backbone.model.state_dict(), other.model.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)


@pytest.fixture(scope='module')
def full_size(tmp_path_factory):
    """The published sizes from a Llama-free config.json, shapes only."""
    folder = tmp_path_factory.mktemp('full')
    (folder / 'config.json').write_text('{"model_type": "minigpt_v2"}')
    shutil.copy(GOLDEN / 'tokenizer_llama_tiny' / 'tokenizer.model', folder)
    return MiniGPTv2(str(folder), device='meta')


def test_full_size_names_and_shapes(full_size):
    wanted = json.loads((GOLDEN / 'minigpt_v2' / 'full_size_keys.json').read_text())
    model = full_size.model
    mine = {official_name(name): list(one.shape) for name, one in model.state_dict().items()
            if not name.startswith('llama_model.')}
    for name in find_targets(model, full_size.lora_targets):
        linear = model.get_submodule(name)
        mine[f'{official_name(name)}.lora_A.default.weight'] = [64, linear.in_features]
        mine[f'{official_name(name)}.lora_B.default.weight'] = [linear.out_features, 64]
    assert len(wanted) == 643
    assert mine == wanted


def test_full_size_checkpoint_fills_the_model(full_size, tmp_path):
    """Every published name is taken, none is left over, without reading one tensor."""
    def unread(shape):
        return Computed(tuple(shape), lambda: pytest.fail('a tensor was read'))

    published = json.loads((GOLDEN / 'minigpt_v2' / 'full_size_keys.json').read_text())
    tensors = {name: unread(shape) for name, shape in published.items()}
    own = full_size.model.state_dict()
    tensors |= {official_name(name): unread(one.shape) for name, one in own.items() if name.startswith('llama_model.')}
    found, _ = model_tensors(tensors, full_size.model.config, source=tmp_path)
    assert {name: tuple(one.get_shape()) for name, one in found.items()} == {name: one.shape for name, one in own.items()}


def test_full_size_estimate(full_size):
    found = full_size.estimate_bytes(training=False)
    assert found['weights'] == 2 * sum(one.numel() for one in full_size.model.parameters())
    assert 15e9 < found['weights'] < 16e9
    assert full_size.describe()['tokens_per_image'] == 256


def test_registry_builds_it(whole, tiny_minigpt):
    assert same(BACKBONES.build(dict(type='MiniGPTv2', checkpoint=str(whole), dtype='float32', device='cpu')), tiny_minigpt)


@pytest.mark.parametrize('adapter_name', ['', '.default', '.other'])
def test_three_parts_in_one_folder(tmp_path, weights, golden_config, tiny_minigpt, adapter_name):
    """Old PEFT's adapter names have no `.default`; blocks beyond the depth, norm, head and inv_freq are ignored."""
    write_parts(tmp_path, weights, golden_config['llm'], adapter_name=adapter_name)
    with_tiny_sizes(tmp_path, golden_config)
    assert same(MiniGPTv2(str(tmp_path), **TINY), tiny_minigpt)


def test_three_parts_by_name(tmp_path, weights, golden_config, tiny_minigpt):
    parts = write_parts(tmp_path / 'parts', weights, golden_config['llm'])
    shutil.move(parts['checkpoint'], tmp_path)
    with_tiny_sizes(tmp_path, golden_config)
    named = {key: parts[key] for key in ('llama', 'vit')}
    assert same(MiniGPTv2(str(tmp_path), **named, **TINY), tiny_minigpt)


def test_parts_of_other_sizes_than_published(tmp_path, weights, golden_config):
    """A .pth beside `llama` and `vit` is the published model: the tiny tower does not fit it, found before reading."""
    parts = write_parts(tmp_path, weights, golden_config['llm'])
    with pytest.raises(ConfigError, match=r'visual_encoder\.blocks\.10\.attn\.proj\.bias.* more\.'):
        MiniGPTv2(**parts, **TINY)


def test_parts_beside_the_language_model(tmp_path, weights, golden_config):
    """All three in the Llama folder itself."""
    write_parts(tmp_path, weights, golden_config['llm'])
    for file in (tmp_path / 'Llama-2-chat').iterdir():
        shutil.move(file, tmp_path)
    (tmp_path / 'Llama-2-chat').rmdir()
    assert MiniGPTv2.preflight(str(tmp_path)) == []
    backbone = MiniGPTv2(str(tmp_path), device='meta')
    assert backbone.model.config.text_config.hidden_size == golden_config['llm']['hidden_size']
    assert backbone.model.config.vit['depth'] == 39


@pytest.mark.parametrize('lora', ['merge', 'keep'])
def test_save_and_load(fresh, io, tmp_path, lora):
    first = fresh(lora=lora)
    first.save(tmp_path)
    second = MiniGPTv2(str(tmp_path), **TINY, lora=lora)
    assert (second.kept_lora is None) == (lora == 'merge')
    fields = dict(inputs_embeds=io['single.inputs_embeds'], attention_mask=io['single.attention_mask'])
    assert torch.equal(first.model(**fields).logits, second.model(**fields).logits)
    assert first.codec.encode(' a <s>cat $$') == second.codec.encode(' a <s>cat $$')
    assert second.samples.template == first.samples.template
    torch.testing.assert_close(MiniGPTv2(str(tmp_path), **TINY).model(**fields).logits, first.model(**fields).logits,
                               rtol=0, atol=1e-4)


def test_ln_vision_starts_as_a_plain_norm(broken):
    model = MiniGPTv2(broken(ln_vision__weight=None, ln_vision__bias=None), **TINY).model
    assert model.ln_vision.weight.eq(1).all() and model.ln_vision.bias.eq(0).all()


def test_position_table_of_another_picture_size(broken, weights):
    table = torch.randn(1, 1 + 3 * 3, 32)
    found = MiniGPTv2(broken(visual_encoder__pos_embed=table), **TINY).model.visual_encoder.pos_embed
    wanted = torch.nn.functional.interpolate(table[:, 1:].view(1, 3, 3, 32).permute(0, 3, 1, 2), size=4, mode='bicubic',
                                             align_corners=False).permute(0, 2, 3, 1).view(1, 16, 32)
    assert torch.equal(found[:, :1], table[:, :1])
    torch.testing.assert_close(found[:, 1:], wanted)
    own = weights['visual_encoder.pos_embed']
    torch.testing.assert_close(resized_positions(own, 4), own)


TENSOR_ERRORS = {
    'missing': (dict(llama_proj__bias=None), r'missing tensors: llama_proj\.bias'),
    'half a norm': (dict(ln_vision__bias=None), r'missing tensors: ln_vision\.bias'),
    'extra': (dict(visual_encoder__blocks__0__attn__gamma=torch.ones(3)), r'does not have: visual_encoder\.blocks\.0\.attn'),
    'unknown': (dict(Qformer__bert=torch.ones(3)), r'does not have: Qformer\.bert'),
    'shape': (dict(llama_proj__bias=torch.ones(3)), r'llama_proj\.bias is \[3\], expected \[64\]'),
    'table': (dict(visual_encoder__pos_embed=torch.ones(1, 12, 32)), r'pos_embed has shape \[1, 12, 32\]'),
}


@pytest.mark.parametrize('case', TENSOR_ERRORS)
def test_tensors_that_do_not_fit_are_named(broken, case):
    changes, words = TENSOR_ERRORS[case]
    with pytest.raises(ConfigError, match=words):
        MiniGPTv2(broken(**changes), **TINY)


def test_damaged_files_are_all_named_before_loading(whole, tmp_path, weights, golden_config):
    parts = write_parts(tmp_path, weights, golden_config['llm'])
    for key in ('vit', 'checkpoint'):
        content = (path := resolve(parts[key])).read_bytes()
        path.write_bytes(content[:len(content) // 2])
    (tmp_path / 'Llama-2-chat' / 'model.safetensors').write_bytes(b'version https://git-lfs')
    found = problems(**parts)
    for words in ("eva_vit_g.pth' is cut short", "minigptv2_checkpoint.pth' is cut short",
                  "model.safetensors' cannot be read"):
        assert words in found
    resolve(parts['vit']).write_bytes(b'version https://git-lfs')
    assert "eva_vit_g.pth' is no torch file" in problems(**parts)
    folder = tmp_path / 'cut'
    shutil.copytree(whole, folder)
    (folder / 'weights.safetensors').write_bytes((whole / 'weights.safetensors').read_bytes()[:-1000])
    with pytest.raises(ConfigError, match='weights.safetensors.*cut short'):
        MiniGPTv2(str(folder), **TINY)


def test_older_torch_files_and_files_that_run_code(tmp_path, weights, golden_config, tiny_minigpt):
    """A bare pickle of tensors is read; one of anything else is not loaded."""
    parts = write_parts(tmp_path, weights, golden_config['llm'])
    with_tiny_sizes(tmp_path, golden_config)
    tower = torch.load(parts['vit'], weights_only=True)
    torch.save(tower, parts['vit'], _use_new_zipfile_serialization=False)
    assert same(MiniGPTv2(str(tmp_path), **TINY), tiny_minigpt)
    torch.save({'model': tower, 'config': golden_config, 'code': shutil.copy}, parts['checkpoint'])
    with pytest.raises(CoinkitError, match='minigptv2_checkpoint.pth'):
        MiniGPTv2(str(tmp_path), **TINY)


def test_whole_tensors_of_the_checkpoint_win(tmp_path, weights, golden_config):
    """A checkpoint that brings the picture tower as well is laid over eva_vit_g.pth."""
    parts = write_parts(tmp_path, weights, golden_config['llm'])
    with_tiny_sizes(tmp_path, golden_config)
    trained = torch.load(parts['checkpoint'], weights_only=True)
    trained['model']['visual_encoder.cls_token'] = torch.full((1, 1, 32), 7.0)
    torch.save(trained, parts['checkpoint'])
    assert MiniGPTv2(str(tmp_path), **TINY).model.visual_encoder.cls_token.eq(7).all()


def test_a_checkpoint_beside_the_whole_model(tmp_path, whole, weights, golden_config, tiny_minigpt):
    """It is laid over the folder's own tensors; files of something else are no part of the model."""
    trained = {name: one for name, one in weights.items() if 'lora' in name or name.startswith('llama_proj')}
    for name in ('config.json', 'tokenizer.model'):
        shutil.copy(whole / name, tmp_path)
    base = {name: one for name, one in weights.items() if 'lora' not in name}
    save_file(base | {'llama_proj.bias': torch.zeros(64)}, tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConfigError, match='holds no adapters'):
        MiniGPTv2(str(tmp_path), **TINY)
    torch.save({'model': trained}, tmp_path / 'minigptv2_checkpoint.pth')
    shutil.copy(GOLDEN / 'minigpt_v2' / 'io.safetensors', tmp_path)
    for name in ('training_args.bin', 'optimizer.pt'):
        torch.save({'lr': 1}, tmp_path / name)
    assert same(MiniGPTv2(str(tmp_path), **TINY), tiny_minigpt)
    torch.save({'model': trained | {'other.lora_A.weight': torch.ones(4, 64)}}, tmp_path / 'minigptv2_checkpoint.pth')
    with pytest.raises(ConfigError, match='one half of the adapter is missing at other'):
        MiniGPTv2(str(tmp_path), **TINY)
    (tmp_path / 'minigptv2_checkpoint.pth').write_bytes(b'version https://git-lfs')
    assert "minigptv2_checkpoint.pth' is no torch file" in problems(tmp_path)


def test_everything_in_one_flat_folder(tmp_path, weights, golden_config, tiny_minigpt):
    """Llama's own files beside the other parts, under one config of the whole model."""
    write_parts(tmp_path, weights, golden_config['llm'])
    for file in (tmp_path / 'Llama-2-chat').iterdir():
        shutil.move(file, tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(golden_config))
    (tmp_path / 'Llama-2-chat').rmdir()
    assert MiniGPTv2.preflight(str(tmp_path)) == []
    assert same(MiniGPTv2(str(tmp_path), **TINY), tiny_minigpt)
    shutil.move(tmp_path / 'eva_vit_g.pth', tmp_path.parent / f'{tmp_path.name}_vit.pth')
    assert same(MiniGPTv2(str(tmp_path), vit=f'{tmp_path}_vit.pth', **TINY), tiny_minigpt)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'config.json').write_text('{"model_type": "llama"}')
    assert 'or more than one' in problems(tmp_path, vit=f'{tmp_path}_vit.pth')


def test_prompt_template_without_place_for_the_question(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    config = json.loads((whole / 'config.json').read_text()) | {'prompt_template': '[INST]'}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match='prompt_template'):
        MiniGPTv2(str(tmp_path), **TINY)


def problems(checkpoint, **options) -> str:
    return '\n'.join(map(str, MiniGPTv2.preflight(str(checkpoint), **options)))


def test_preflight_names_everything_at_once(tmp_path):
    found = problems(tmp_path, dtype='float8', lora='fuse', task_tag='vqq', template='vicuna', missing_image='skip')
    for words in ("dtype 'float8'", "lora 'fuse'", "task_tag 'vqq'. Did you mean 'vqa'", "template 'vicuna'",
                  "missing_image 'skip'", 'backbone.llama: is not given', 'backbone.vit: is not given',
                  'has no MiniGPT-v2 checkpoint'):
        assert words in found


def test_preflight_of_wrong_places(tmp_path, whole):
    assert "'/nowhere' does not exist" in problems('/nowhere')
    assert "backbone.vit: '/no.pth' does not exist" in problems(whole, vit='/no.pth')
    (tmp_path / 'config.json').write_text('{"model_type": "llava", "text_config": {}}')
    assert "this looks like LLaVA in hub format, use type='Llava'" in problems(tmp_path)
    (tmp_path / 'config.json').write_text('{"model_type": "llama"}')
    found = problems(tmp_path)
    assert 'has no weights' in found and 'eva_vit_g.pth' in found and 'no tokenizer' in found
    (tmp_path / 'config.json').write_text('{"model_type"')
    assert 'is not JSON' in problems(tmp_path)


def test_preflight_of_a_llama_argument_that_is_none(tmp_path, weights, golden_config):
    parts = write_parts(tmp_path, weights, golden_config['llm'])
    (resolve(parts['llama']) / 'config.json').write_text('{"model_type": "mistral"}')
    assert "has model_type 'mistral', expected 'llama'" in problems(**parts)


def test_preflight_of_a_whole_folder(whole, tmp_path):
    assert MiniGPTv2.preflight(str(whole)) == []
    shutil.copy(whole / 'config.json', tmp_path)
    found = problems(tmp_path)
    assert 'has no weights' in found and 'no tokenizer' in found
