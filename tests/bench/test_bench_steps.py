"""The ratios of bench_steps.py in short runs with loose bounds: what makes a step half as slow again must show."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


def test_every_method_that_trains_is_there():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_steps.py')))
    assert set(bench['METHODS']) == {'MoELoRA', 'OLoRA', 'CIA', 'MAS', 'EWC', 'LwF', 'Replay', 'MRLoRA', 'SingleTask'}
    for name, methods in bench['METHODS'].items():
        assert methods[-1]['type'] == name and bench['LIMITS'][name] == (1.5 if name == 'LwF' else 1.1)


@pytest.mark.slow
def test_no_method_makes_a_step_much_slower_than_fine_tune_s():
    bench = runpy.run_path(str(Path(__file__).with_name('bench_steps.py')))
    ratios = bench['measure'](['MoELoRA', 'OLoRA', 'CIA', 'LwF'], steps=8, rows=8)
    slow = {name: found for name, found in ratios.items() if found['fit'] > 1.3 * bench['LIMITS'][name]}
    assert not slow, ratios
