"""A config whose sizes do not fit, or whose words transformers does not know, is an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from coinkit.backbones import loading
from coinkit.backbones.config_files import config_errors, head_problems
from coinkit.backbones.llava import Llava
from coinkit.backbones.loading import Start
from coinkit.errors import ConfigError
from coinkit.registry import BACKBONES
from tests.backbones import tiny_transformers as tiny

MINIS = Path(loading.__file__).parent / 'mini'


def changed(folder, changes) -> str:
    """The folder, with other values in config.json; dicts are changed, not replaced."""
    config = json.loads((folder / 'config.json').read_text())
    for name, value in changes.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (folder / 'config.json').write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize('error', [ValueError('v'), TypeError('t'), KeyError('k'), ZeroDivisionError('z'),
                                   AttributeError('a'), AssertionError('b'), RuntimeError('r')])
def test_errors_over_a_config_name_its_file(error, tmp_path):
    with pytest.raises(ConfigError, match=r'config\.json: does not describe a usable model: .*' + error.args[0]):
        with config_errors(tmp_path / 'config.json'):
            raise error
    with pytest.raises(OSError), config_errors(tmp_path / 'config.json'):
        raise OSError


SIZES = [('text_config', {'num_attention_heads': 3}, 'heads'), ('text_config', {'hidden_size': '64'}, 'hidden_size'),
         ('text_config', {'rope_parameters': {'rope_type': 'nope'}}, 'nope')]


@pytest.mark.parametrize('part, changes, words', [*SIZES, ('vision_config', {'num_attention_heads': 3}, 'heads'),
                                                  ('vision_config', {'patch_size': 0}, 'zero')])
def test_llava(part, changes, words, tiny_llava_folder, tmp_path):
    folder = shutil.copytree(tiny_llava_folder, tmp_path / 'llava')
    with pytest.raises(ConfigError, match=rf'llava/config\.json.*{words}'):
        Llava(changed(folder, {part: changes}), device='cpu')


@pytest.mark.parametrize('start', [{}, {'init_seed': 0}, {'device': 'meta'}])
@pytest.mark.parametrize('part, changes, words', [
    *SIZES, ('vision_config', {'num_heads': 3}, 'does not divide embed_dim 32')])
def test_models_of_transformers(part, changes, words, start, folder_of, tmp_path):
    folder = shutil.copytree(folder_of('qwen2_vl'), tmp_path / 'qwen2_vl')
    changed(folder, {part: changes})
    with pytest.raises(ConfigError, match=rf'qwen2_vl/config\.json.*{words}'):
        tiny.load(folder, **start)


@pytest.mark.parametrize('content, words', [('{"eos', 'is not JSON'), ('{"eos_token_id": [3], "max_length": "x", '
                                            '"cache_implementation": "no"}', 'does not describe a usable model')])
def test_generation_settings(content, words, folder_of, tmp_path):
    folder = shutil.copytree(folder_of('qwen2_vl'), tmp_path / 'qwen2_vl')
    (folder / 'generation_config.json').write_text(content)
    with pytest.raises(ConfigError, match=rf'generation_config\.json: {words}'):
        tiny.load(folder)


@pytest.mark.parametrize('content', ['{"ver', '{}'])
def test_the_tokenizer_of_a_hub_folder(content, folder_of, tmp_path):
    folder = shutil.copytree(folder_of('qwen2_vl'), tmp_path / 'qwen2_vl')
    (folder / 'tokenizer.json').write_text(content)
    with pytest.raises(ConfigError, match=r'tokenizer\.json: is not JSON' if content == '{"ver' else 'processor'):
        tiny.load(folder)


@pytest.mark.parametrize('changes, words', [
    ({'num_attention_heads': 3}, 'num_attention_heads 3'), ({'vocab_size': '320'}, "vocab_size is '320'"),
    ({'layer_norm_epsilon': 'x'}, "layer_norm_epsilon is 'x'"), ({'kv_channels': None}, 'kv_channels is None'),
    ({'visual': {'heads': 5}}, r'visual\.heads: 5 given'), ({'visual': {'patch_size': 0}}, 'zero'),
    ({'visual': {'mlp_ratio': None}}, 'usable model')])
def test_qwen_vl(changes, words, tmp_path):
    folder = shutil.copytree(MINIS / 'qwen_vl', tmp_path / 'qwen', ignore=shutil.ignore_patterns('*.safetensors'))
    with pytest.raises(ConfigError, match=rf'qwen/config\.json.*{words}'):
        BACKBONES.build({'type': 'QwenVL', 'checkpoint': changed(folder, changes), 'device': 'cpu', 'init_seed': 0})


@pytest.mark.parametrize('changes, words', [
    ({'text_config': {'num_attention_heads': 3}}, 'heads'), ({'vit': {'num_heads': 5}}, r'vit\.num_heads: 5 given'),
    ({'vit': {'embed_dim': '32'}}, 'usable model'), ({'prompt_template': None}, 'prompt_template is None, expected str'),
    ({'end_sym': None}, 'end_sym is None'), ({'max_txt_len': 'x'}, "max_txt_len is 'x'")])
def test_minigpt_v2(changes, words, tmp_path):
    folder = shutil.copytree(MINIS / 'minigpt_v2', tmp_path / 'mg', ignore=shutil.ignore_patterns('*.safetensors'))
    with pytest.raises(ConfigError, match=rf'mg/config\.json.*{words}'):
        BACKBONES.build({'type': 'MiniGPTv2', 'checkpoint': changed(folder, changes), 'device': 'cpu', 'init_seed': 0})


def test_heads_of_vision_towers(tmp_path):
    file = tmp_path / 'config.json'
    [problem] = head_problems(SimpleNamespace(vit={'embed_dim': 32, 'num_heads': 3, 'hidden_size': 30}), file)
    assert str(problem).startswith(f'{file}: vit.num_heads: 3 given, which does not divide embed_dim 32.')
    assert head_problems(SimpleNamespace(visual={'width': 32, 'heads': 0}), file)
    for fine in ({'width': 32, 'heads': 4}, {'width': 32}, {'width': 32, 'heads': 3, 'head_dim': 16}, {'width': '32'}):
        assert head_problems(SimpleNamespace(visual=fine), file) == []


def test_an_error_that_is_not_the_configs_stays(tmp_path):
    class Fine(torch.nn.Linear):
        def __init__(self, config):
            super().__init__(2, 2)

        @classmethod
        def _from_config(cls, config, **_):
            raise ValueError('no room')

    with pytest.raises(ValueError, match='no room'):
        Start(torch.float32, torch.device('cpu'), 'sdpa', 0, None).model(Fine, SimpleNamespace(), dict, folder=tmp_path)
