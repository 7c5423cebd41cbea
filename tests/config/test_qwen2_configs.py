"""The shipped Qwen2-VL family: full models by default, and with --mini another type, whose arguments are other ones."""

from pathlib import Path

import pytest

import coinkit
from coinkit.config import dump, load_config

BASE = Path(coinkit.__file__).parent / 'configs' / '_base_'


@pytest.mark.parametrize(('name', 'type_'), [('qwen2_vl_7b', 'Qwen2VL'), ('qwen2_5_vl_7b', 'Qwen25VL'),
                                             ('qwen3_vl_8b', 'Qwen3VL')])
def test_mini_swaps_the_type_and_all_its_arguments(write, name, type_) -> None:
    path = write('run.py', f"_base_ = ['{BASE}/backbones/{name}.py', '{BASE}/benchmarks/mini.py', "
                           f"'{BASE}/schedules/mini.py']\nmethods = [dict(type='FineTune', rank=16, alpha=32)]\n")
    full = load_config(path)
    assert full.backbone['type'] == type_ and full.backbone['max_pixels'] > full.backbone['min_pixels']
    assert 'mini' not in full.backbone
    config = load_config(path, mini=True)
    assert config.backbone == {'type': 'QwenVL', 'checkpoint': 'mini', 'dtype': 'float32', 'max_length': 512}
    assert load_config(write('config.py', dump(config))) == config
