"""LwF in runs: no term in the first task, nothing at lambda 0, the same however a batch is cut; the cached teacher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from coinkit.errors import ConfigError, RunError
from coinkit.methods.lwf import LwF
from coinkit.testing.runs import distance, opened
from coinkit.testing.small_runs import adapter, config, digest, logged, write_config

LORA = dict(type='FineTune', rank=4, alpha=8, dropout=0.1, train_projector=True)
FEW = tuple(f'benchmark.tasks.{number}.train.size=6' for number in (1, 3))
QUICK = (*FEW, 'evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=2', 'schedule.warmup_steps=0',
         'checkpoint.every_steps=1')
SECOND = '02-gqa'


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('lwf')


def run_config(folder: Path, *methods: Mapping[str, Any], options: tuple[str, ...] = ()) -> Any:
    file = folder / f'config{abs(hash(repr(methods)))}.py'
    return config(str(write_config(file, methods)), *QUICK, *options)


@pytest.fixture
def train(mini_engine, folder) -> Callable[..., Path]:
    """`train('name', method, ...)`: the run's folder; trained once per module."""
    def run(name: str, *methods: Mapping[str, Any], options: tuple[str, ...] = ()) -> Path:
        if not (folder / name / 'matrix.json').exists():
            mini_engine.train(run_config(folder, *methods, options=options), folder / name)
        return folder / name

    return run


def learnt(run: Path) -> dict[str, str]:
    return {name: value for name, value in digest(run).items() if '/adapter/' in name}


def test_there_is_no_term_in_the_first_task(train) -> None:
    records = logged(train('lwf', LORA, dict(type='LwF')))
    assert all(('LwF.distillation' in record) == (record['stage'] == 2) for record in records)
    assert records[-1]['LwF.distillation'] > 0
    plain = train('plain', LORA)
    first, second = (learnt(train('lwf', LORA, dict(type='LwF'))), learnt(plain))
    changed = {Path(name).parts[1] for name in first if first[name] != second[name]}
    assert changed == {SECOND}


def test_lambda_0_is_sequential_lora_bit_for_bit(train) -> None:
    assert learnt(train('nothing', LORA, dict(type='LwF', lwf_lambda=0.0))) == learnt(train('plain', LORA))


def test_at_the_first_step_student_and_teacher_are_one_model(train) -> None:
    """Dropout is off, so the first step of task 2 has no distillation loss."""
    run = train('start', {**LORA, 'dropout': 0.0}, dict(type='LwF'), options=('schedule.steps=1',))
    assert abs(logged(run)[-1]['LwF.distillation']) < 1e-6


def test_the_size_of_a_micro_batch_does_not_matter(train) -> None:
    """Rows differ in the number of their supervised tokens; the term is a mean over the tokens of the global batch."""
    methods = ({**LORA, 'dropout': 0.0}, dict(type='LwF', lwf_lambda=3.0))
    rows = ('schedule.global_batch_size=3', 'schedule.lr=1e-3', 'schedule.warmup_steps=0')
    whole, cut = (train(f'micro{size}', *methods, options=(*rows, f'schedule.micro_batch_size={size}')) for size in (3, 1))
    for one, two in zip(logged(whole), logged(cut), strict=True):
        for key in {'loss', 'LwF.distillation', 'grad_norm'} & one.keys():
            assert one[key] == pytest.approx(two[key], rel=1e-4, abs=1e-7), key
    assert logged(whole)[-1]['LwF.distillation'] > 0


def test_the_teacher_reads_the_old_projector_and_blocks(mini_engine, folder) -> None:
    """Its logits are those before the task, whatever the student has become; the student's values stay."""
    method = LwF()
    with opened(run_config(folder, LORA), folder / 'teacher') as runner:
        state, model = runner.state, runner.state.backbone.model
        samples = state.train_samples(0)
        encoded = [state.backbone.encode(samples[i], training=True) for i in range(2)]
        batch = state.backbone.collate(encoded, padding_side='right')
        state.index = 1
        method.coinkit_begin_task(state)
        before = state.backbone.forward(batch).logits_NV
        with torch.no_grad():
            for parameter in state.trainable().values():
                parameter.add_(0.1)
        changed = {name: parameter.detach().clone() for name, parameter in state.trainable().items()}
        assert any('projector' in name for name in changed) and any('bank_A' in name for name in changed)
        model.train()
        with method._teaching(state):
            assert torch.equal(state.backbone.forward(batch).logits_NV, before)
        assert model.training and not torch.allclose(state.backbone.forward(batch).logits_NV, before)
        assert all(torch.equal(parameter, changed[name]) for name, parameter in state.trainable().items())


# --- the cached teacher -------------------------------------------------------------------------------------------


def test_a_teacher_cached_whole_gives_the_live_loss(train) -> None:
    methods = {**LORA, 'dropout': 0.0}
    live = train('live', methods, dict(type='LwF'))
    cached = train('cached', methods, dict(type='LwF', lwf_teacher='cached_topk', top_k=10**6))
    for one, two in zip(logged(live), logged(cached), strict=True):
        assert two.get('LwF.distillation', 0) == pytest.approx(one.get('LwF.distillation', 0), rel=1e-3, abs=1e-6)
    assert not list((cached / 'methods' / 'LwF').iterdir()), 'what the teacher said is dropped at the end of the task'


def test_a_resumed_phase_reads_what_the_teacher_said(train, mini_engine, monkeypatch, folder) -> None:
    from coinkit.engine.trainer import PhaseTrainer

    method = dict(type='LwF', lwf_teacher='cached_topk', top_k=8)
    expected = digest(train('whole', LORA, method))
    step = PhaseTrainer._step

    def fail_once(self, number, batches):
        if self.state.index == 1 and number == 1:
            raise KeyboardInterrupt
        step(self, number, batches)

    run = folder / 'again'
    with monkeypatch.context() as patch:
        patch.setattr(PhaseTrainer, '_step', fail_once)
        with pytest.raises(KeyboardInterrupt):
            mini_engine.train(run_config(folder, LORA, method), run)
    kept = [file.read_bytes() for file in sorted((run / 'methods' / 'LwF').glob('*/*'))]
    assert len(kept) == 2 and json.loads(kept[0])[0][0].startswith('gqa')
    monkeypatch.setattr('coinkit.methods.lwf_cache._asked', lambda *_: pytest.fail('the teacher was asked again'))
    assert mini_engine.train(run_config(folder, LORA, method), run) == expected


def test_the_cached_teacher_is_asked_about_replayed_rows_in_any_order(train) -> None:
    cached, replay = dict(type='LwF', lwf_teacher='cached_topk', top_k=4), dict(type='Replay', num_samples=6)
    first, second = train('behind', LORA, replay, cached), train('before', LORA, cached, replay)
    assert learnt(first) == learnt(second) and logged(second)[-1]['LwF.distillation'] > 0


@pytest.mark.parametrize(('methods', 'ids', 'text'), [
    ([], 4, 'two training rows of GQA have the id'),
    ([dict(type='Replay', num_samples=2)], 6, 'two training rows of TextVQA and GQA have the id')])
def test_equal_ids_are_told_before_the_first_step(folder, monkeypatch, methods, ids, text) -> None:
    """The cache keeps answers by id; replayed rows bring those of other tasks. Both tasks have six rows."""
    from coinkit.datasets.mini.dataset import Mini
    from coinkit.engine import preflight

    build = Mini.__getitem__
    monkeypatch.setattr(Mini, '__getitem__', lambda rows, index: replace(build(rows, index), id=str(index % ids)))
    with pytest.raises(ConfigError, match=f"{text}.*Use lwf_teacher='live'"):
        preflight.check(run_config(folder, LORA, dict(type='LwF', lwf_teacher='cached_topk'), *methods))
    preflight.check(run_config(folder, LORA, dict(type='LwF'), *methods))


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(temperature=0.0), 'temperature: given 0.0, allowed: above 0'), (dict(lwf_lambda=-1.0), 'allowed: 0 or more'),
    (dict(top_k=0), 'top_k: given 0'), (dict(top_k=9), "9 given, and lwf_teacher='live' does not read it"),
    (dict(lwf_teacher='frozen'), "allowed: 'live' or 'cached_topk'")])
def test_bad_arguments(arguments, text) -> None:
    assert text in str(LwF.preflight(**arguments)[0])


def test_the_teacher_has_the_blocks_that_others_add_in_any_order(train) -> None:
    olora = dict(type='OLoRA', rank=4, alpha=8)
    assert learnt(train('olora first', olora, dict(type='LwF'))) == learnt(train('lwf first', dict(type='LwF'), olora))


def test_blocks_that_change_behind_lwf_are_an_error_with_a_cure(mini_engine, folder, monkeypatch) -> None:
    """By a method that does not say `blocks_change`; one that does is refused before (test_composition.py)."""
    monkeypatch.setattr('coinkit.methods.mr_lora.method.MRLoRA.blocks_change', 'never')
    changing = run_config(folder, dict(type='LwF'), dict(type='MRLoRA', rank=4, alpha=8, router_samples=2, router_steps=1,
                                                         router_batch_size=2))
    with pytest.raises(RunError, match=r"\['expert'\] trained .*\['routing'\] train now. LwF takes them behind all"):
        mini_engine.train(changing, folder / 'changing')


# --- processes ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize('second', [dict(type='LwF'), dict(type='MAS', num_samples=2, mas_lambda=0.01)])
def test_zero_3_in_two_processes_ends_where_one_process_ends(folder, second) -> None:
    """The teacher's values and the penalty's gradients, with every parameter partitioned; dropout is off."""
    name = second['type']
    file = write_config(folder / f'{name}.py', [{**LORA, 'dropout': 0.0}, second])
    options = [*QUICK, 'schedule.lr=1e-3', 'schedule.warmup_steps=0', 'schedule.global_batch_size=4']
    ends = []
    for processes, more in ((1, []), (2, ['strategy.type=DeepSpeed', 'strategy.stage=3', 'schedule.micro_batch_size=1'])):
        ends.append(folder / f'{name}{processes}')
        launcher = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2'] if processes == 2 else []
        command = [sys.executable, *launcher, '-m', 'coinkit', 'train', str(file), '--work-dir', str(ends[-1]),
                   '--cfg-options', *config_options(*options, *more)]
        done = subprocess.run(command, env={**os.environ, 'OMP_NUM_THREADS': '1', 'DS_ACCELERATOR': 'cpu'},
                              capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    start = adapter(ends[0], '00-zero-shot')
    one, two = (adapter(end, SECOND) for end in ends)
    # Adam turns rounding noise on a gradient near zero (the distillation's, at its start) into a small step
    assert distance(one, two) <= 1e-3 * distance(one, start)


def config_options(*more: str) -> list[str]:
    from coinkit.testing.small_runs import options

    return options(*more)
