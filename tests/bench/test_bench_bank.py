"""The bank's ratios at a small size with loose bounds: a loop over experts that creeps back in must show."""

from __future__ import annotations

import runpy
from pathlib import Path

BENCH = runpy.run_path(str(Path(__file__).with_name('bench_bank.py')))
SMALL = {**BENCH['CPU'], 'width': 384, 'rounds': 9}


def test_ratios_of_the_bank():
    result = BENCH['measure'](**SMALL)
    assert result['stacked/lora'] < 1.6, result
    assert result['stacked/loop'] < 0.7, result
    assert result['stacked/loop, kept for backward'] <= 0.25, result  # counted, not timed


def test_the_cost_is_flat_in_the_number_of_experts():
    shares = BENCH['measure_sweep'](**SMALL)
    assert max(shares.values()) - min(shares.values()) < 0.35, shares
