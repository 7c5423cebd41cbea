"""The tiny MiniGPT-v2 of tests/golden/minigpt_v2 as a checkpoint folder and as a backbone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backbones.minigpt_v2.tiny import GOLDEN


@pytest.fixture(scope='session')
def io() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / 'minigpt_v2' / 'io.safetensors')


@pytest.fixture(scope='session')
def texts() -> dict:
    return json.loads((GOLDEN / 'minigpt_v2' / 'text.json').read_text())


@pytest.fixture(scope='session')
def weights() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / 'minigpt_v2' / 'weights.safetensors')


@pytest.fixture(scope='session')
def golden_config() -> dict:
    return json.loads((GOLDEN / 'minigpt_v2' / 'config.json').read_text())


@pytest.fixture(scope='session')
def whole(tmp_path_factory) -> Path:
    """One folder: config.json, all tensors under the official names, tokenizer.model."""
    folder = tmp_path_factory.mktemp('minigpt_whole')
    for name in ('config.json', 'weights.safetensors'):
        shutil.copy(GOLDEN / 'minigpt_v2' / name, folder)
    shutil.copy(GOLDEN / 'tokenizer_llama_tiny' / 'tokenizer.model', folder)
    return folder


@pytest.fixture(scope='session')
def tiny_minigpt(whole):
    """The tiny backbone; nobody changes it."""
    from coinkit.backbones.minigpt_v2 import MiniGPTv2

    return MiniGPTv2(str(whole), dtype='float32', device='cpu')


@pytest.fixture
def fresh(whole):
    """Makes tiny backbones that may be changed."""
    from coinkit.backbones.minigpt_v2 import MiniGPTv2

    return lambda **options: MiniGPTv2(str(whole), **{'dtype': 'float32', 'device': 'cpu', **options})


@pytest.fixture
def broken(whole, tmp_path):
    """A copy of the whole folder with some tensors changed: None leaves one out."""
    def make(**changes):
        folder = tmp_path / 'broken'
        shutil.copytree(whole, folder)
        tensors = load_file(folder / 'weights.safetensors') | {name.replace('__', '.'): one for name, one in changes.items()}
        (folder / 'weights.safetensors').unlink()
        kept = {name: one for name, one in tensors.items() if one is not None}
        save_file(kept, folder / 'model.safetensors', metadata={'format': 'pt'})
        return str(folder)
    return make
