"""The ratio of batched generation at a small size with a loose bound: a loop over prompts that creeps back in must show."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_batched_generation_is_faster_than_the_loop():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_generation.py')))
    result = bench['measure'](per_task=2, rounds=1, max_new_tokens=8)
    assert result['batched/loop'] > 1.4, result
