"""The adapters of a MiniGPT-v2 checkpoint: merged, kept or dropped; none of them may be missing unsaid."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.minigpt_v2 import MiniGPTv2
from coinkit.backbones.minigpt_v2.configuration import MiniGPTv2Config
from coinkit.backbones.minigpt_v2.tensors import model_tensors
from coinkit.errors import ConfigError
from tests.backbones.minigpt_v2.tiny import LLAMA, with_tiny_sizes, write_parts

TINY = dict(dtype='float32', device='cpu')
V1 = 'llama_model.model.layers.1.self_attn.v_proj'


def test_adapters_dropped(fresh, weights):
    name = 'model.layers.1.self_attn.v_proj.weight'
    bare = fresh(lora='drop').model.state_dict()[f'llama_model.{name}']
    assert torch.equal(bare, weights[LLAMA + name])


def test_alpha(fresh, weights):
    stem = f'{LLAMA}model.layers.0.self_attn.q_proj'
    update = weights[f'{stem}.lora_B.default.weight'] @ weights[f'{stem}.lora_A.default.weight']
    found = fresh(lora_alpha=256).model.state_dict()['llama_model.model.layers.0.self_attn.q_proj.weight']
    torch.testing.assert_close(found, weights[f'{stem}.weight'] + 64 * update)


def test_merged_in_fp32_then_cast(whole, tiny_minigpt):
    name = 'llama_model.model.layers.0.self_attn.q_proj.weight'
    half = MiniGPTv2(str(whole), dtype='bfloat16', device='cpu').model.state_dict()[name]
    assert torch.equal(half, tiny_minigpt.model.state_dict()[name].bfloat16())


def test_adapters_that_do_not_fit_are_named(whole, tmp_path, weights):
    stem = f'{LLAMA}model.layers.0.self_attn.q_proj.lora_'
    config = MiniGPTv2Config(**json.loads((whole / 'config.json').read_text()))
    for change, words in (({f'{stem}B.default.weight': None}, 'one half of the adapter is missing at .*q_proj'),
                          ({f'{stem}A.default.weight': torch.ones(4, 9)}, r'64 x 64, its adapter \[64, 4\] x \[4, 9\]'),
                          ({f'{LLAMA}model.layers.0.self_attn.q_proj.weight': None}, 'q_proj is adapted but not there'),
                          ({f'{stem}A.second.weight': torch.ones(4, 64)}, 'several adapters: default, second')):
        tensors = {name: one for name, one in (weights | change).items() if one is not None}
        with pytest.raises(ConfigError, match=words):
            model_tensors(tensors, config, source=tmp_path)


def test_other_adapted_modules(whole, tmp_path, weights, tiny_minigpt):
    """Whatever linears the checkpoint adapts are merged or kept."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    stem = f'{LLAMA}model.layers.1.self_attn.k_proj.lora_'
    extra = {f'{stem}A.default.weight': torch.randn(4, 64), f'{stem}B.default.weight': torch.randn(64, 4)}
    save_file(weights | extra, tmp_path / 'weights.safetensors', metadata={'format': 'pt'})
    ids = torch.tensor([[1, 5, 9, 14]])
    merged, kept = (MiniGPTv2(str(tmp_path), **TINY, lora=lora).model(input_ids=ids).logits for lora in ('merge', 'keep'))
    torch.testing.assert_close(merged, kept, rtol=0, atol=1e-4)
    assert not torch.allclose(merged, tiny_minigpt.model(input_ids=ids).logits, atol=1e-3)


def without(tensors, module: str) -> dict[str, None]:
    """The names of a module's adapters, as the fixture `broken` leaves them out; '' is every module."""
    return {name: None for name in tensors if '.lora_' in name and module in name}


@pytest.mark.parametrize('lora', ['merge', 'keep'])
def test_missing_adapters_are_named(broken, weights, lora):
    """Without them the model would load all the same, with other outputs."""
    folder = broken(**without(weights, 'layers.1.self_attn.v_proj'))
    with pytest.raises(ConfigError, match=rf"'{folder}': adapters are missing at {V1}\. .*lora='drop'"):
        MiniGPTv2(folder, **TINY, lora=lora)
    assert MiniGPTv2(folder, **TINY, lora='drop').model.llama_proj.bias is not None


def test_no_adapters_at_all(broken, weights):
    """Names of PEFT's wrapper promise some; a folder whose adapters were merged has none of these names."""
    folder = broken(**without(weights, ''))
    with pytest.raises(ConfigError, match=rf'{folder}. holds no adapters .*layers\.0\.self_attn\.q_proj.*{V1}'):
        MiniGPTv2(folder, **TINY)
    file = f'{folder}/model.safetensors'
    save_file({name.replace(LLAMA, 'llama_model.'): one for name, one in load_file(file).items()}, file)
    assert MiniGPTv2(folder, **TINY).kept_lora is None


@pytest.mark.parametrize('module, words', [
    ('', 'holds no adapters'), ('layers.1.self_attn.v_proj', f'adapters are missing at {V1}')])
def test_a_checkpoint_file_that_lacks_adapters(tmp_path, weights, golden_config, module, words):
    """Even one without a name of PEFT's wrapper."""
    file = write_parts(tmp_path, weights, golden_config['llm'])['checkpoint']
    trained = torch.load(file, weights_only=True)['model']
    left_out = without(trained, module).keys() | {name for name in trained if 'inv_freq' in name}
    torch.save({name: one for name, one in trained.items() if name not in left_out}, file)
    with_tiny_sizes(tmp_path, golden_config)
    with pytest.raises(ConfigError, match=words):
        MiniGPTv2(str(tmp_path), **TINY)


@pytest.mark.parametrize('changes, words', [
    ({'r': 8}, r'config.json: lora.r: is 8, but the adapters in .* have rank 4'),
    ({'target_modules': ['query']}, r"lora.target_modules: \['query'\] names no linear"),
    ({'target_modules': ['q_proj', 'v_proj', 'up_proj']}, r'missing at .*layers.0.mlp.up_proj, .*layers.1.mlp.up_proj\.'),
    ({'target_modules': r'.*\.o_proj'}, r'missing at .*layers.0.self_attn.o_proj, .*layers.1.self_attn.o_proj\.')])
def test_adapters_of_another_config(whole, tmp_path, golden_config, changes, words):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'config.json').write_text(json.dumps(golden_config | {'lora': golden_config['lora'] | changes}))
    with pytest.raises(ConfigError, match=words):
        MiniGPTv2(str(tmp_path), **TINY)
