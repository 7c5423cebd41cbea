"""The ratios of bench_methods.py at a small size with loose bounds: a loop that creeps back in must show."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_olora_s_penalty_is_batched():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_methods.py')))
    result = bench['olora'](**{**bench['CPU'], 'rounds': 5})
    assert result['batched/loop'] < 0.7, result
