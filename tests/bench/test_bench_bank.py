"""The bank's ratios at a small size with loose bounds: a loop over experts that creeps back in must show."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_ratios_of_the_bank():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_bank.py')))
    result = bench['measure'](**{**bench['CPU'], 'width': 384, 'rounds': 9})
    assert result['loop/stacked'] > 1.3, result
    assert result['stacked/lora'] < 2.5, result
