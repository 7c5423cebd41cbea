"""EWC in real runs of the mini stream: it acts, does nothing at lambda = 0, and resumes to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import coinkit
import pytest
import torch
from coinkit.config import load_config
from safetensors.torch import load_file

import coinkit_ewc

LORA = "dict(type='FineTune', rank=4, alpha=8, dropout=0.1)"
EWC = "dict(type='EWC', num_samples=2)"
CRASH = '''
"""Fails once, at one point of the second task."""
from pathlib import Path

DONE = Path(__file__).with_suffix('.done')


def coinkit_{hook}(state):
    if state.index == 1 and {when} and not DONE.exists():
        DONE.touch()
        raise RuntimeError('the power went')
'''


def adapters(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob('stages/*/*/*.safetensors'))}


@pytest.fixture(scope='module')
def run(train) -> Path:
    return train('ewc', LORA, EWC)


@pytest.fixture(scope='module')
def plain(train) -> Path:
    return train('plain', LORA)


def test_the_penalty_acts_from_the_second_task_on(run: Path, plain: Path) -> None:
    records = [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]
    assert all(('EWC.penalty' in record) == (record['stage'] == 2) for record in records)
    assert records[-1]['stage'] == 2 and records[-1]['EWC.penalty'] > 0
    first, second = (f'stages/{stage}/adapter/adapter.safetensors' for stage in ('01-scienceqa', '02-textvqa'))
    assert (run / first).read_bytes() == (plain / first).read_bytes()
    assert (run / second).read_bytes() != (plain / second).read_bytes()


def test_every_trainable_tensor_has_a_fisher_and_none_is_negative(run: Path) -> None:
    state = load_file(run / 'stages/02-textvqa/methods/methods.safetensors')
    fisher = {key: value for key, value in state.items() if key.startswith('EWC/fisher/')}
    assert all(bool((value >= 0).all()) and value.dtype == torch.float32 for value in fisher.values())
    assert {key.replace('/fisher/', '/anchor/') for key in fisher} < state.keys()
    assert any('projector' in key for key in fisher) and any('bank_A' in key for key in fisher)


def test_lambda_0_is_sequential_lora_bit_for_bit(train, plain: Path) -> None:
    nothing = train('nothing', LORA, "dict(type='EWC', num_samples=2, ewc_lambda=0.0)")
    mine = {name: data for name, data in adapters(nothing).items() if '/adapter/' in name}
    assert mine == {name: data for name, data in adapters(plain).items() if '/adapter/' in name}


@pytest.mark.parametrize(('hook', 'when'), [('before_step', 'state.step == 1'), ('end_task', 'True')])
def test_a_resumed_run_ends_in_the_same_bytes(train, run: Path, tmp_path: Path, hook: str, when: str) -> None:
    crash = tmp_path / 'crash.py'
    crash.write_text(CRASH.format(hook=hook, when=when))
    with pytest.raises(RuntimeError, match='the power went'):
        train(f'again_{hook}', LORA, EWC, plugins=(str(crash),))
    again = train(f'again_{hook}', LORA, EWC, plugins=(str(crash),))
    assert adapters(again) == adapters(run)
    assert (again / 'matrix.json').read_text() == (run / 'matrix.json').read_text()


def test_a_config_that_names_only_ewc_trains_a_lora_under_it(train) -> None:
    run = train('alone', "dict(type='EWC', num_samples=1)")
    card = json.loads(next(run.glob('stages/02-textvqa/adapter/*.json')).read_text())
    assert card['bank']['blocks'] and 'EWC.penalty' in (run / 'log.jsonl').read_text()


def test_its_own_config_is_valid() -> None:
    config = load_config(Path(coinkit_ewc.__file__).parent / 'configs' / 'mini_ewc.py')
    assert [method['type'] for method in config.methods] == ['FineTune', 'EWC']
    assert len(config.benchmark.tasks) == 8


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ["{'type': 'DDP'}", "{'type': 'DeepSpeed', 'stage': 3}"])
def test_two_processes_learn_what_one_learns(train, tmp_path: Path, strategy: str) -> None:
    """Dropout is off: its masks differ between one process and two."""
    one = train('one', LORA.replace('0.1', '0.0'), EWC)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', '-m', 'coinkit',
               'train', str(one.with_suffix('.py')), '--plugin', 'coinkit_ewc', '--work-dir', str(tmp_path / 'two'),
               '--cfg-options', f'strategy={strategy}', 'schedule.micro_batch_size=1']
    paths = [str(Path(module.__file__).parents[1]) for module in (coinkit, coinkit_ewc)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ('adapter/adapter.safetensors', 'methods/methods.safetensors'):
        expected, got = (load_file(run / 'stages/02-textvqa' / name) for run in (one, tmp_path / 'two'))
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            assert torch.dist(got[key], value) <= 1e-3 * value.norm() + 1e-6, key
