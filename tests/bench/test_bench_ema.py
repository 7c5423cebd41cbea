"""CIA's EMA step costs at most twice a fused AdamW step on the same tensors, and is the plain reference."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize(('experts', 'limit'), [(1, 2.0), (8, 3.0)])  # eight: sums per rank, where BLAS has no one pass
def test_the_ema_step_beside_adamw(experts, limit):
    bench = runpy.run_path(str(Path(__file__).with_name('bench_ema.py')))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = bench['measure'](**bench['CPU'], experts=experts)
    finally:
        torch.set_num_threads(threads)
    assert result['ema/adamw'] <= limit, result
