"""Whole runs as two CPU processes over gloo: DDP, ZeRO-2 and ZeRO-3 end where one process ends.

The global batch is a function of (seed, task, n), so at dropout 0 only the order of floating-point sums differs.
Tolerances after 2 x 4 AdamW steps at lr 1e-3: 1e-5 relative on losses; on the adapter, the distance between the two ends
is at most 1e-4 of the way trained (Adam turns rounding noise on a gradient near zero into a small step, so single weights
are no measure).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ['schedule.steps=4', 'schedule.global_batch_size=6', 'schedule.micro_batch_size=2', 'schedule.lr=1e-3',
           'schedule.warmup_steps=0', 'methods.0.dropout=0.0', 'methods.0.train_projector=True', 'evaluation.limit=6',
           'evaluation.zero_shot=False', 'evaluation.token_budget=300', 'tasks=["GQA","VQAv2"]']
STRATEGIES = {'DDP': ['strategy.type=DDP'], 'ZeRO-2': ['strategy.type=DeepSpeed', 'strategy.stage=2'],
              'ZeRO-3': ['strategy.type=DeepSpeed', 'strategy.stage=3']}
Tensors = dict[str, torch.Tensor]
STAGES = ('01-gqa', '02-vqav2')


def train(folder: Path, options: list[str], *, processes: int = 1) -> None:
    launcher = [] if processes == 1 else ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command = [sys.executable, *launcher, str(ROOT / 'tools/train.py'), 'mini/finetune', '--work-dir', str(folder),
               '--cfg-options', *OPTIONS, *options]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'DS_ACCELERATOR': 'cpu'}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def adapter(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(folder / 'stages' / stage / 'adapter' / 'adapter.safetensors')


def losses(folder: Path) -> list[float]:
    return [json.loads(line)['loss'] for line in (folder / 'log.jsonl').read_text().splitlines()]


def assert_same_end(mine: Tensors, theirs: Tensors, start: Tensors) -> None:
    assert mine.keys() == theirs.keys()
    way = distance(theirs, start)
    assert way > 0.1 and distance(mine, theirs) < 1e-4 * way


def distance(a: Tensors, b: Tensors) -> float:
    return sum((a[key] - b[key]).double().square().sum().item() for key in a) ** 0.5


@pytest.fixture(scope='module')
def one_process(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('one') / 'run'
    train(folder, [])
    return folder


@pytest.mark.parametrize('name', STRATEGIES)
def test_two_processes_end_where_one_ends(name, one_process, tmp_path):
    folder = tmp_path / 'run'
    train(folder, STRATEGIES[name], processes=2)
    assert losses(folder) == pytest.approx(losses(one_process), rel=1e-5)
    start = adapter(one_process, '00-zero-shot')
    for stage in STAGES:
        assert_same_end(adapter(folder, stage), adapter(one_process, stage), start)
    # the batch plan depends on the requests alone, so sharded evaluation gives the answers of one process
    for stage in STAGES:
        for file in sorted((folder / 'predictions' / stage).glob('*.jsonl')):
            assert file.read_text() == (one_process / 'predictions' / stage / file.name).read_text()
    assert not list(folder.glob('predictions/*/.*'))


def test_two_processes_resume_what_one_began(one_process, tmp_path):
    """A step checkpoint holds full tensors by name: any number of processes goes on from it."""
    folder = tmp_path / 'run'
    stop = tmp_path / 'stop.py'
    stop.write_text('import os, signal\n\n\ndef coinkit_after_step(state):\n'
                    '    if state.index == 1 and state.step == 2:\n        os.kill(os.getpid(), signal.SIGTERM)\n')
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'mini/finetune', '--work-dir', str(folder),
               '--plugin', str(stop), '--cfg-options', *OPTIONS]
    done = subprocess.run(command, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 130, done.stderr[-2000:]
    assert list(folder.glob('stages/02-vqav2/checkpoint/0-fit-000002/optimizer.safetensors'))
    train(folder, [], processes=2)
    start = adapter(one_process, '00-zero-shot')
    for stage in STAGES:
        assert_same_end(adapter(folder, stage), adapter(one_process, stage), start)
