"""Every registered method on every native backbone: two tasks are trained, measured, and read back bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_arguments import ARGUMENTS

from coinkit.plugins import load_plugins
from coinkit.registry import METHODS
from coinkit.testing import small_runs
from coinkit.testing.runs import opened

load_plugins()
BACKBONES = {  # LLaVA is the battery's own
    'QwenVL': dict(type='QwenVL', checkpoint='mini', dtype='float32', max_length=512),
    'MiniGPTv2': dict(type='MiniGPTv2', checkpoint='mini', dtype='float32', max_length=512, missing_image='zero')}


@pytest.fixture(scope='module')
def engine():
    with small_runs.small_engine({}) as engine:
        yield engine


@pytest.mark.slow
@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('method', METHODS.names())
def test_a_method_runs_on_every_backbone(method: str, backbone: str, engine, tmp_path: Path) -> None:
    methods = [small_runs.with_small_rank(dict(type=method, **ARGUMENTS.get(method, {})))]
    config = small_runs.config(str(small_runs.write_config(tmp_path / 'run.py', methods, backbone=BACKBONES[backbone])))
    engine.train(config, tmp_path / 'run')
    with opened(config, tmp_path / 'run') as runner:
        last = runner.stages()[-1]
        rows = small_runs.matrix(tmp_path / 'run')
        assert None not in (rows['zero_shot'] if runner.evaluates == 'none' else rows['scores'][-1])
        runner.restore(last)
        if last != '00-zero-shot':
            written, read = small_runs.adapter(tmp_path / 'run', last), runner.tensors()
            assert written.keys() == read.keys() and all(torch.equal(written[name], read[name]) for name in written)
