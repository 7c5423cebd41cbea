"""O-LoRA: blocks per task, the penalty in runs, what inference adds up, phases, merging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from coinkit.backbones.peft_io import merge_all
from coinkit.engine.trained import Trained
from coinkit.methods.olora import OLoRA, stacked_A
from coinkit.nn.bank import AdapterBank
from coinkit.nn.subspaces import Overlap
from coinkit.testing.runs import opened
from coinkit.testing.small_runs import adapter, config, logged, write_config

METHOD = dict(type='OLoRA', rank=4, alpha=8, dropout=0.0)
LORA = dict(type='FineTune', rank=4, alpha=8, dropout=0.0, train_projector=False)
QUICK = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.warmup_steps=0', 'schedule.steps=2',
         'schedule.lr=1e-3')  # Adam's steps at a larger rate are longer than the overlap
STAGES = ('01-textvqa', '02-gqa')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('olora')


def run_config(folder: Path, name: str, *methods: dict[str, Any]) -> Any:
    return config(str(write_config(folder / f'{name}.py', methods)), *QUICK)


@pytest.fixture
def train(mini_engine, folder) -> Callable[..., Path]:
    def run(name: str, *methods: dict[str, Any]) -> Path:
        if not (folder / name / 'matrix.json').exists():
            mini_engine.train(run_config(folder, name, *methods), folder / name)
        return folder / name

    return run


def block(run: Path, stage: str, name: str) -> dict[str, torch.Tensor]:
    return {key.replace(f'.{name}.', '.'): value for key, value in adapter(run, stage).items() if f'.{name}.' in key}


def test_the_first_task_is_plain_lora_bit_for_bit(train) -> None:
    mine, plain = block(train('olora', METHOD), STAGES[0], 'task-1'), block(train('plain', LORA), STAGES[0], 'lora')
    assert mine.keys() == plain.keys() and all(torch.equal(mine[key], plain[key]) for key in mine)


def test_old_blocks_stay_as_they_are_and_a_new_one_is_trained(train) -> None:
    run = train('olora', METHOD)
    before, after = (block(run, stage, 'task-1') for stage in STAGES)
    assert all(torch.equal(before[key], after[key]) for key in before)
    new = block(run, STAGES[1], 'task-2')
    assert new.keys() == before.keys() and all(bool(value.any()) for value in new.values())


def test_the_penalty_starts_with_the_second_task_and_pulls_apart(train) -> None:
    free, held = train('free', {**METHOD, 'olora_lambda': 0.0}), train('held', {**METHOD, 'olora_lambda': 50.0})
    records = logged(held)
    assert all(('OLoRA.overlap' in record) == (record['stage'] == 2) for record in records)

    def overlap(run: Path) -> float:
        old, new = (block(run, STAGES[1], name) for name in ('task-1', 'task-2'))
        names = [key for key in old if key.endswith('.A')]
        return float(Overlap({key: old[key] for key in names})({key: new[key] for key in names})[0])

    assert overlap(held) < overlap(free)


def test_lambda2_adds_the_norm_of_the_new_pair(train) -> None:
    record = logged(train('norm', {**METHOD, 'olora_lambda2': 0.01}))[0]
    assert record['OLoRA.norm'] > 0


# --- the model ----------------------------------------------------------------------------------------------------


def small_bank(*, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, AdapterBank]:
    """Three tasks' blocks with values on one linear: two frozen, one that trains."""
    model = nn.Sequential(nn.Linear(6, 5, bias=False).to(dtype))
    bank, generator = AdapterBank(model, ['0'], dtype=dtype), torch.Generator().manual_seed(0)
    for number in (1, 2, 3):
        bank.add(f'task-{number}', rank=2, scale=4.0, generator=generator, trainable=number == 3)
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator, dtype=dtype)
                          for key, value in bank.state_dict().items()})
    return model, bank


def test_inference_adds_all_pairs_and_merging_changes_nothing() -> None:
    model, bank = small_bank()
    x, values, weight = torch.randn(7, 6, dtype=torch.float64), bank.state_dict(), model[0].base.weight
    deltas = sum(4.0 * values[f'0.task-{i}.B'] @ values[f'0.task-{i}.A'] for i in (1, 2, 3))
    expected = x @ (weight + deltas).T
    torch.testing.assert_close(model(x), expected)
    merge_all(bank)
    torch.testing.assert_close(model(x), expected)


def test_the_old_factors_are_those_of_all_frozen_blocks() -> None:
    _, bank = small_bank(dtype=torch.float32)
    values = bank.state_dict()
    old = stacked_A(bank, ['task-1', 'task-2'], torch.device('cpu'))
    assert torch.equal(old['0.bank_A'], torch.cat([values['0.task-1.A'], values['0.task-2.A']]))


@pytest.mark.parametrize('names', [('task-3',), ('adapter',), ('task-1',), ('task-1', 'task-3')])
def test_a_phase_that_names_blocks_keeps_the_frozen_ones(names) -> None:
    """Old pairs are part of the model in every phase, whichever block the phase trains."""
    model, bank = small_bank(dtype=torch.float32)
    trained = Trained(SimpleNamespace(backbone=SimpleNamespace(model=model, projector=None), bank=bank, trained=set(),
                                      task=None, phase=None))
    trained.choose(names)
    assert {'task-1', 'task-2'} <= set(bank.active)
    assert ('task-3' in bank.active) == ('task-3' in names or 'adapter' in names)
    trained.restore()
    assert set(bank.active) == {'task-1', 'task-2', 'task-3'} and bank.live == ('task-3',)


def test_every_task_adds_one_block(mini_engine, folder) -> None:
    with opened(run_config(folder, 'grow', METHOD), folder / 'grow') as runner:
        state, method = runner.state, runner.state.hooks.plugins['OLoRA']
        for state.index in (0, 1):
            method.coinkit_begin_task(state)
        assert list(state.bank.blocks) == ['task-1', 'task-2'] and state.bank.live == ('task-2',)
        assert set(state.trainable()) == set(state.bank.trainable_parameters()), 'the projector does not train by default'
        assert set(method.overlap.names) == {name for name in state.trainable() if name.endswith('bank_A')}
        assert method.stored_numbers(state) == 0 and method.storage


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(olora_lambda=-1.0), 'OLoRA: olora_lambda: given -1.0, allowed: 0 or more'),
    (dict(olora_lambda2=-1.0), 'olora_lambda2'), (dict(rank=0), 'rank: 0 given, at least 1'),
    (dict(dropout=1.0), '0 <= dropout < 1')])
def test_bad_arguments(arguments, text) -> None:
    assert text in str(OLoRA.preflight(**arguments)[0])
