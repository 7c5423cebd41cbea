"""Folders are recognised by config.json and file names, and the message says which type reads them."""

from __future__ import annotations

import json

import pytest

from coinkit.backbones.checkpoint_kinds import kind_of, wrong_kind
from coinkit.errors import ConfigError


@pytest.fixture
def make(tmp_path):
    """A folder of empty files, with a config.json unless it is None."""
    def _make(config, *names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        if config is not None:
            (tmp_path / 'config.json').write_text(json.dumps(config))
        return tmp_path

    return _make


CONFIGS = [
    ({'model_type': 'llava', 'text_config': {}}, 'llava', 'Llava'),
    ({'model_type': 'llava', 'mm_hidden_size': 1024}, 'llava_original', 'Llava'),
    ({'model_type': 'llava_llama', 'mm_hidden_size': 1024}, 'llava_original', 'Llava'),
    ({'model_type': 'qwen', 'visual': {}}, 'qwen_vl', 'QwenVL'),
    ({'model_type': 'qwen'}, 'qwen', None),
    ({'model_type': 'qwen2_vl'}, 'qwen2_vl', 'Qwen2VL'),
    ({'model_type': 'qwen2_5_vl'}, 'qwen2_5_vl', 'Qwen25VL'),
    ({'model_type': 'qwen3_vl'}, 'qwen3_vl', 'Qwen3VL'),
    ({'model_type': 'minigpt_v2'}, 'minigpt_v2', 'MiniGPTv2'),
    ({'vit': {}, 'llm': {}}, 'minigpt_v2', 'MiniGPTv2'),
    ({'model_type': 'llama'}, 'llama', None),
    ({'model_type': 'clip', 'text_config': {}}, 'clip', None),
    ({'model_type': 'clip_vision_model'}, 'clip', None),
    ({'model_type': 'internvl'}, 'other', 'HFVisionLanguage'),
]


@pytest.mark.parametrize('config, name, reader', CONFIGS)
def test_configs(make, config, name, reader):
    folder = make(config, 'model.safetensors')
    assert kind_of(folder).name == name
    for expected in ('Llava', 'QwenVL', 'MiniGPTv2', 'Qwen2VL'):
        problem = wrong_kind(folder, expected=expected)
        assert (problem is None) == (reader == expected)
        if problem:
            assert 'this looks like' in str(problem) and f"Expected here: a checkpoint for type='{expected}'" in str(problem)
            assert (f"use type='{reader}'" in str(problem)) == (reader is not None)


def test_what_transformers_reads_is_right_for_the_generic_type(make):
    for config, name, _ in CONFIGS:
        generic = name in ('llava', 'qwen2_vl', 'qwen2_5_vl', 'qwen3_vl', 'other')
        assert (wrong_kind(make(config), expected='HFVisionLanguage') is None) == generic


@pytest.mark.parametrize('config, files, name', [
    (None, ['adapter_config.json', 'adapter_model.safetensors'], 'adapter'),
    ({'model_type': 'llava'}, ['adapter_config.json', 'adapter_model.bin'], 'adapter'),
    (None, ['adapter_config.json', 'adapter_model.bin', 'non_lora_trainables.bin'], 'adapter'),
    (None, ['ledger.jsonl', 'config.py'], 'run'),
    (None, ['adapter/card.json', 'methods/x'], 'stage'),
    (None, ['adapter.safetensors', 'card.json'], 'stage'),
    (None, ['eva_vit_g.pth'], 'eva'),
    ({'model_type': 'llava'}, ['mm_projector.bin'], 'projector'),
    ({'model_type': 'llama'}, ['pytorch_model.bin', 'adapter_config.json'], 'llama'),
])
def test_file_names(make, config, files, name):
    assert kind_of(make(config, *files)).name == name


@pytest.mark.parametrize('file, name', [
    ('eva_vit_g.pth', 'eva'), ('mm_projector.bin', 'projector'), ('model.safetensors', 'file'), ('a.txt', 'file')])
def test_a_file_instead_of_a_folder(make, file, name):
    path = make(None, file) / file
    assert kind_of(path).name == name
    assert 'this looks like' in str(wrong_kind(path, expected='MiniGPTv2'))


def test_a_part_is_right_where_it_is_asked_for(make):
    folder = make({'model_type': 'llama'}, 'model.safetensors')
    assert wrong_kind(folder, expected='Llava') is not None
    assert wrong_kind(folder, expected='Llava', also=('llama',)) is None


def test_nothing_recognised_is_no_problem_here(make, tmp_path):
    assert kind_of(tmp_path / 'none') is None
    assert wrong_kind(make(None, 'weights.safetensors'), expected='QwenVL') is None
    assert wrong_kind(make({}), expected='QwenVL') is None


def test_a_broken_config_is_said(make):
    folder = make(None)
    (folder / 'config.json').write_text('{')
    with pytest.raises(ConfigError, match='is not JSON'):
        kind_of(folder)


def test_every_named_type_is_a_backbone():
    """The table must not send a user to a type that is spelt otherwise."""
    from coinkit.backbones.checkpoint_kinds import GENERIC, KINDS

    named = {one for kind in KINDS.values() for one in kind.types} - {GENERIC}
    assert named == {'Llava', 'QwenVL', 'MiniGPTv2', 'Qwen2VL', 'Qwen25VL', 'Qwen3VL'}
