"""Scoring at a small size: the share of ten seconds for 100,000 answers, and no more than in proportion to their number."""

from __future__ import annotations

import runpy
from pathlib import Path

from coinkit.registry import METRICS


def test_time_to_score_a_file():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_metrics.py')))
    few, many = (bench['limited'](bench['measure'](answers)) for answers in (200, 1600))
    assert {name.split()[0] for name in many} == set(METRICS.names()) - {'ucit_caption'}
    assert max(many.values()) < bench['LIMIT_S'] * 1600 / bench['ANSWERS'] * 2 + 0.1, many  # slow machines, cold start
    for name, seconds in many.items():
        assert seconds < 8 * (few[name] + 0.05) * 2.5, (name, few[name], seconds)
