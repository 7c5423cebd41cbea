"""Arguments that every backbone takes: each wrong one is a problem that names it, before anything is loaded."""

from __future__ import annotations

import logging

import pytest
import torch

from coinkit.backbones import loading
from coinkit.backbones.arguments import choice_problems, row_length
from coinkit.backbones.loading import choose_attention
from coinkit.errors import ConfigError
from coinkit.registry import BACKBONES


def said(**given) -> str:
    return '\n'.join(map(str, choice_problems(given)))


def test_what_is_right_is_no_problem():
    assert said() == '' == said(dtype='float32', device='meta', attn='sdpa', max_length=1, key_mapping={r'^a\.(b)': r'\1'},
                                init_seed=0, max_txt_len=None, quantization=None)
    assert said(device='auto') == said(device='cpu') == ''


@pytest.mark.parametrize('device', ['gpu', 'cuda:x', 'CPU', 3])
def test_devices_that_are_none(device):
    assert f"backbone.device: unknown device '{device}'." in said(device=device) and 'cuda:N' in said(device=device)


def test_gpus_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert "backbone.device: 'cuda' given; torch" in said(device='cuda') and 'finds no GPU here' in said(device='cuda:1')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert said(device='cuda') == said(device='cuda:1') == ''
    assert "'cuda:2' given; there are 2 GPUs. Allowed: 'cuda:0' to 'cuda:1'." in said(device='cuda:2')


def test_flash_attention_needs_three_things(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    text = said(attn='flash_attention_2', device='auto', dtype='float32')
    for words in ('backbone.attn', 'flash-attn, which is not installed', 'a GPU', "dtype 'bfloat16', and it is 'float32'"):
        assert words in text
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    assert 'a GPU' in said(attn='flash_attention_2', device='cpu')
    assert said(attn='flash_attention_2') == said(attn='flash_attention_2', device='meta') == ''  # a plan for elsewhere


@pytest.mark.parametrize(('mapping', 'words'), [
    ({'(': 'x'}, "'(' to 'x': missing ), unterminated subpattern"), ({'a': r'\3'}, 'invalid group reference 3'),
    ({'a': 3}, 'a dict of patterns to replacements allowed'), (['a'], 'a dict of patterns')])
def test_patterns_that_cannot_be_read(mapping, words):
    assert said(key_mapping=mapping).startswith('backbone.key_mapping: ') and words in said(key_mapping=mapping)


@pytest.mark.parametrize('length', [0, -5, True, 2.5, '7'])
@pytest.mark.parametrize('name', ['max_length', 'max_txt_len'])
def test_lengths(name, length):
    assert said(**{name: length}) == f'backbone.{name}: {length!r} given, a whole number above 0 allowed.'


def test_the_length_of_rows():
    assert row_length(None, 512) == 512 and row_length(None, 4096) == 2048 == row_length(None, None)
    assert row_length(300, 512) == 300 and row_length(9000, None) == 9000
    with pytest.raises(ConfigError, match=r'backbone\.max_length: 513 given; the model reads at most 512 tokens'):
        row_length(513, 512)


def test_random_weights_are_not_quantised(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    assert "backbone.init_seed: 0 given beside quantization='4bit'" in said(init_seed=0, quantization='4bit')
    assert said(quantization='4bit') == ''


WRONG = {'device': 'gpu', 'attn': 'flash_attention_2', 'max_length': -1}


@pytest.mark.parametrize('kind', ['Llava', 'QwenVL', 'MiniGPTv2', 'Qwen2VL', 'HFVisionLanguage'])
def test_every_backbone_says_all_of_them(kind, folder_of):
    folders = {'Qwen2VL': 'qwen2_vl', 'HFVisionLanguage': 'internvl'}
    config = {'type': kind, 'checkpoint': str(folder_of(folders[kind])) if kind in folders else 'mini', 'dtype': 'float32'}
    patterns = {} if kind == 'MiniGPTv2' else {'key_mapping': {'(': ''}}
    with pytest.raises(ConfigError) as caught:
        BACKBONES.build(config | WRONG | patterns)
    where = {problem.where for problem in caught.value.problems}
    assert where == {f'backbone.{name}' for name in (*WRONG, *patterns)}
    with pytest.raises(ConfigError, match=r'backbone\.max_length: 99999 given; the model reads at most'):
        BACKBONES.build(config | {'max_length': 99999, 'device': 'meta'})


def test_attention_is_said_once(caplog):
    loading._say_attention.cache_clear()
    caplog.set_level(logging.INFO, 'coinkit')
    for _ in range(3):
        choose_attention('auto', torch.device('cpu'), torch.float32)
    assert [record.message for record in caplog.records] == ['attention: sdpa']
