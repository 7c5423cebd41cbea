"""The language model's ratio at a small size with a loose bound: work that creeps into every layer must show."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_ratio_to_qwen2():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_qwen_vl.py')))
    result = bench['measure'](**{**bench['CPU'], 'hidden': 256, 'heads': 4, 'tokens': 128, 'rounds': 9})
    assert result['own/qwen2'] < 1.25, result
