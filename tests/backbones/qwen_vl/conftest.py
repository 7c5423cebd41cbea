"""Qwen-VL folders for tests: the golden weights as they were released, and a small model that fits the golden vocabulary.

The golden model embeds 320 ids and the golden vocabulary has 533, so what goes through the tokenizer runs on `small`:
random weights, 16 positions per picture, and seq_length 96, so that longer prompts get dynamic NTK and log-n.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

GOLDEN = Path(__file__).parents[2] / 'golden' / 'qwen_vl'
CASES = ('case1_two_images_padded', 'case2_text_only_padded', 'case3_ntk_logn')


@pytest.fixture(scope='session')
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope='session')
def golden_io():
    return {case: load_file(GOLDEN / f'{case}.io.safetensors') for case in CASES}


@pytest.fixture
def golden_folder(tmp_path) -> Path:
    """The third case's model in a folder as it is published; tests may damage it."""
    return released(tmp_path / 'released', 'case3_ntk_logn')


def released(folder: Path, case: str) -> Path:
    folder.mkdir()
    shutil.copy(GOLDEN / f'{case}.config.json', folder / 'config.json')
    shutil.copy(GOLDEN / 'weights.safetensors', folder / 'model.safetensors')
    shutil.copy(GOLDEN / 'tiny.tiktoken', folder / 'qwen.tiktoken')
    return folder


@pytest.fixture(scope='session')
def small_folder(tmp_path_factory) -> Path:
    from coinkit.backbones.qwen_vl import QwenVL

    folder = tmp_path_factory.mktemp('small_qwen_vl')
    config = json.loads((GOLDEN / 'case3_ntk_logn.config.json').read_text())
    visual = config['visual'] | {'image_start_id': 530, 'image_size': 56, 'n_queries': 16, 'position_side': 4}
    config |= {'vocab_size': 544, 'seq_length': 96, 'max_position_embeddings': 600, 'initializer_range': 0.2,
               'visual': visual}
    (folder / 'config.json').write_text(json.dumps(config))
    shutil.copy(GOLDEN / 'tiny.tiktoken', folder)
    QwenVL(str(folder), dtype='float32', device='cpu', init_seed=3).save(folder)
    return folder


@pytest.fixture
def small(small_folder):
    from coinkit.backbones.qwen_vl import QwenVL

    return QwenVL(str(small_folder), dtype='float32', device='cpu')
