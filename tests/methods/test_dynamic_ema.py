"""DynamicEMA: what it averages and when, that training is untouched by it, and the same on one process and on two."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ema_toy import ToyRun, averaged
from safetensors.torch import load_file
from torch import Tensor

from coinkit.engine import preflight
from coinkit.engine.strategies.one_device import OneDevice
from coinkit.errors import ConfigError, RunError
from coinkit.methods.dynamic_ema import DynamicEMA
from coinkit.testing.small_runs import adapter, config, differing, logged, write_config

ROOT = Path(__file__).parents[2]
LORA = dict(type='FineTune', rank=4, alpha=8.0, dropout=0.05)
Tensors = dict[str, Tensor]


def one_device() -> OneDevice:
    return OneDevice(device='cpu')


def reference(run: ToyRun, *, formula: str = 'released', first: int = 0) -> Tensors:
    """theta* from the recorded theta and g, begun at theta_first: tensor by tensor, in double precision."""
    ends = {}
    for name in run.used:
        theta = [values[name].double() for values in run.raw]
        grads = [None, *(values[name].double() for values in run.grads)]
        average = theta[first]
        for t in range(first + 1, len(theta)):
            alpha = math.nan
            if t > 1:
                way = 2.0 if formula == 'released' else (theta[t - 1] - average).abs().sum()
                alpha = float(way * (1 + grads[t].abs().sum()) / ((theta[t] - average).abs().sum()
                                                                  * (grads[t] - grads[t - 1]).abs().sum()))
            alpha = alpha if 0 < alpha < 1 else 0.01
            average = (1 - alpha) * average + alpha * theta[t]
        ends[name] = average.float()
    return ends


def same(given: Tensors, expected: Tensors) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(given[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f'{name} {text}')


# --- the average --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_it_is_the_reference_on_accumulated_unclipped_gradients(formula: str) -> None:
    run = averaged(one_device(), ema_formula=formula)
    same(run.ends, reference(run, formula=formula))
    assert run.shares[0] == pytest.approx(0.01) and max(run.shares) > 0.02, 'the formula must have been at work'
    assert not torch.allclose(run.ends['layers.0.bank_A'], run.raw[-1]['layers.0.bank_A'])


def test_training_does_not_see_it() -> None:
    on, off = averaged(one_device()), averaged(one_device(), ema_when='never')
    assert all(torch.equal(on.raw[-1][name], off.raw[-1][name]) for name in on.used)
    assert all(torch.equal(off.ends[name], off.raw[-1][name]) for name in off.used) and off.shares == []


def test_after_the_first_step_the_released_start() -> None:
    """theta*_1 = theta_1: theta_0 is never looked at, and the second step has a gradient before it."""
    run = averaged(one_device(), ema_init='after_first_step')
    assert len(run.shares) == 4 and run.shares[0] > 0.011
    same(run.ends, reference(run, first=1))
    method, again = DynamicEMA(ema_when='always', ema_init='after_first_step'), ToyRun(one_device())
    again.train(method, steps=1)
    assert all(torch.equal(method.average.average[name], again.raw[-1][name]) for name in again.used)


def test_a_constant_weight_needs_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    run, method = ToyRun(one_device()), DynamicEMA(ema_when='always', ema_fixed=0.9)
    asked = []
    monkeypatch.setattr(method, 'gradients', lambda state: asked.append(state))
    run.train(method)
    ends = run.end(method)
    for name in run.used:
        expected = 0.9 ** 5 * run.raw[0][name] + sum(0.1 * 0.9 ** (5 - t) * run.raw[t][name] for t in range(1, 6))
        torch.testing.assert_close(ends[name], expected, rtol=1e-5, atol=1e-6)
    assert not asked


def test_the_scope_may_leave_the_projector_raw() -> None:
    strategy = one_device()
    names = ['layers.0.bank_A', 'layers.0.bank_B', 'layers.1.bank_A', 'layers.1.bank_B']
    bank = SimpleNamespace(trainable_parameters=lambda: dict.fromkeys(names), live=('lora',))
    run, method = ToyRun(strategy, bank=bank), DynamicEMA(ema_when='always', ema_scope='lora')
    run.train(method)
    assert set(method.average.average) == set(names)
    ends = run.end(method)
    assert torch.equal(ends['projector.weight'], run.raw[-1]['projector.weight'])
    same(ends, {name: reference(run)[name] for name in names})
    with pytest.raises(RunError, match="ema_scope='lora' and no LoRA trains"):
        ToyRun(one_device()).train(DynamicEMA(ema_when='always', ema_scope='lora'))


def test_blocks_stacked_in_one_parameter_are_averaged_each_by_itself() -> None:
    """Two experts in each stack: what a bank of two shows as one tensor is cut where the method cuts it."""
    names = ['layers.0.bank_A', 'layers.0.bank_B']
    sizes = {'a': SimpleNamespace(rank=150), 'b': SimpleNamespace(rank=50)}
    bank = SimpleNamespace(trainable_parameters=lambda: dict.fromkeys(names), live=('a', 'b'), blocks=sizes)
    run, method = ToyRun(one_device(), bank=bank), DynamicEMA(ema_when='always')
    run.train(method)
    ends = run.end(method)

    def cut(tensors: Tensors) -> Tensors:
        return {f'{name}/{number}': block for name, tensor in tensors.items() for number, block in
                enumerate(tensor.split([150, 50], 'AB'.index(name[-1])) if name in names else [tensor])}

    run.raw, run.grads = ([cut(each) for each in values] for values in (run.raw, run.grads))
    run.used = [name for name in run.raw[0] if not name.startswith('unused')]
    same(cut(ends), reference(run))
    together = averaged(one_device()).ends
    assert all(not torch.equal(ends[name], together[name]) for name in names), 'one weight for both gives something else'
    assert all(torch.equal(value, together[name]) for name, value in ends.items() if name not in names)


def test_a_missing_gradient_is_an_error_or_001() -> None:
    with pytest.raises(RunError, match='No gradient for unused'):
        ToyRun(one_device(), unused=True).train(DynamicEMA(ema_when='always'))
    run, method = ToyRun(one_device(), unused=True), DynamicEMA(ema_when='always', ema_missing_grad='upstream')
    run.train(method)
    theta, average = [values['unused'] for values in run.raw], run.raw[0]['unused']
    for value in theta[1:]:
        average = 0.99 * average + 0.01 * value
    torch.testing.assert_close(method.average.average['unused'], average)
    same(run.end(method), reference(run))


def test_the_released_precision() -> None:
    """bf16 gradients and a bf16 average, as that of a parameter in the base model's dtype."""
    rounded = averaged(one_device(), ema_dtype='param')
    assert all(torch.equal(value, value.bfloat16().float()) for value in rounded.ends.values())
    run, method = ToyRun(one_device()), DynamicEMA(ema_when='always', ema_grad='upstream')
    run.train(method)
    assert all(torch.equal(value, value.bfloat16().float()) for value in method.average.last_grads.values())
    assert any(not torch.equal(value, value.bfloat16().float()) for value in run.grads[-1].values())


def test_each_task_starts_anew_and_a_second_phase_is_refused() -> None:
    run, method = ToyRun(one_device()), DynamicEMA(ema_when='always')
    run.train(method, steps=2)
    assert method.stored_numbers(run) == 2 * sum(value.numel() for name, value in run.raw[0].items())
    with pytest.raises(RunError, match='toy, phase fit: DynamicEMA averages tasks of one phase'):
        method.coinkit_mix_samples(run, None)
    method.coinkit_begin_task(run)
    assert method.average is None and method.stored_numbers(run) == 0


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_a_checkpoint_resumes_bit_for_bit(formula: str) -> None:
    options = dict(ema_when='always', ema_formula=formula)
    run, method = ToyRun(one_device()), DynamicEMA(**options)
    run.train(method, steps=3)
    again = DynamicEMA(**options)
    again.coinkit_load_state_dict(run, method.coinkit_state_dict(run))
    other = ToyRun(one_device())
    other.strategy.set_full_params(run.strategy.full_params())
    other.strategy.load_optimizer_state(run.strategy.optimizer_state())
    run.train(method, first=3, steps=2)
    other.train(again, first=3, steps=2)
    ends, others = run.end(method), other.end(again)
    assert all(torch.equal(ends[name], others[name]) for name in ends)


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('key', 'value', 'message'), [
    ('ema_fixed', 1.0, 'between 0 and 1'), ('ema_fixed', 0.0, 'between 0 and 1'), ('ema_formula', 'eq14', "'released' or"),
    ('ema_when', 'sometimes', "'reuse' or 'always' or 'never'"), ('ema_dtype', 'bf16', "'fp32' or 'param'")])
def test_values_no_run_can_use(key: str, value: object, message: str) -> None:
    (problem,) = DynamicEMA.preflight(**{key: value})
    assert problem.where == f'methods: {key}' and str(value) in problem.message and message in problem.message
    assert DynamicEMA.preflight(ema_fixed=0.99) == []


def test_arguments_that_are_not_read_are_told() -> None:
    (one,) = DynamicEMA.preflight(ema_fixed=0.99, ema_formula='paper')
    assert "ema_formula: 'paper' given, and ema_fixed=0.99 does not read it" in str(one)
    found = DynamicEMA.preflight(ema_when='never', ema_fixed=0.5, ema_scope='lora', ema_init='after_first_step')
    assert [problem.where for problem in found] == ['methods: ema_scope', 'methods: ema_fixed']


def test_reuse_needs_a_method_that_makes_groups(tmp_path: Path) -> None:
    alone = config(str(write_config(tmp_path / 'alone.py', [dict(type='DynamicEMA')])))
    with pytest.raises(ConfigError, match="'reuse' averages where a task joins a group, and no method of this run makes "
                                          "groups. Add dict"):
        preflight.check(alone)
    both = [dict(type='DynamicEMA'), dict(type='InstructionGroups')]
    preflight.check(config(str(write_config(tmp_path / 'both.py', both))))
    preflight.check(config(str(write_config(tmp_path / 'always.py', [dict(type='DynamicEMA', ema_when='always')]))))


def test_a_scope_of_lora_needs_one(tmp_path: Path) -> None:
    methods = [dict(type='FineTune', mode='full'), dict(type='DynamicEMA', ema_when='always', ema_scope='lora')]
    with pytest.raises(ConfigError, match="ema_scope: 'lora' given, and FineTune with mode='full' trains none"):
        preflight.check(config(str(write_config(tmp_path / 'full.py', methods))))


# --- runs ---------------------------------------------------------------------------------------------------------


def test_off_it_is_fine_tune_to_the_byte_and_on_only_the_stored_adapter_differs(mini_engine, tmp_path: Path) -> None:
    digests = {}
    for when in (None, 'never', 'always'):
        methods = [LORA] if when is None else [LORA, dict(type='DynamicEMA', ema_when=when)]
        file = write_config(tmp_path / f'{when}.py', methods)
        digests[when] = mini_engine.train(config(str(file), 'evaluation.limit=1'), tmp_path / str(when))
    differ = differing(digests[None], digests['never'])
    assert {name.split('/')[-1] for name in differ} <= {'methods.json'}
    first = [[record['loss'] for record in logged(tmp_path / name) if record['stage'] == 1] for name in ('None', 'always')]
    assert first[0] == first[1] and len(first[0]) > 1
    plain, kept = (adapter(tmp_path / name, '01-textvqa') for name in ('None', 'always'))
    assert plain.keys() == kept.keys() and all(not torch.equal(plain[name], kept[name]) for name in plain if '.B' in name)
    assert all('DynamicEMA.alpha' in record for record in logged(tmp_path / 'always'))


def test_every_expert_of_moelora_has_its_own_share(mini_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coinkit.nn.ema_parts import StackedAverage

    shares: list[int] = []
    update = StackedAverage.update
    monkeypatch.setattr(StackedAverage, 'update', lambda *given: shares.append(len(found := update(*given))) or found)
    methods = [dict(type='MoELoRA', num_experts=4, rank=8, alpha=16.0), dict(type='DynamicEMA', ema_when='always')]
    file = write_config(tmp_path / 'run.py', methods)
    mini_engine.train(config(str(file), 'evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=2',
                             tasks=('TextVQA',)), tmp_path / 'run')
    stored = adapter(tmp_path / 'run', '01-textvqa')
    experts = [name for name in stored if name.endswith(('.A', '.B'))]
    assert shares == [len(experts)] * 2 and len(experts) % 8 == 0


@pytest.mark.parametrize('name', ['DynamicEMA', 'CIA'])
def test_in_any_list_order_it_reads_gradients_last_and_ends_the_task_first(name: str) -> None:
    from coinkit.methods.mas import MAS
    from coinkit.plugins import RunHooks
    from coinkit.registry import METHODS

    both = [(name, METHODS.get(name)()), ('MAS', MAS())]
    for listed in (both, both[::-1]):
        hooks = RunHooks(listed)
        assert hooks.implementers('coinkit_before_step') == ['MAS', name]
        assert hooks.implementers('coinkit_end_task') == [name, 'MAS']


def test_ewc_beside_it_in_both_orders(mini_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EWC's anchor is what was stored, theta*, and g_t is the whole gradient that the optimizer is given."""
    from coinkit.nn.ema import DynamicAverage
    from coinkit.plugins import load_plugins

    norms: list[float] = []
    read = DynamicAverage.read_gradients

    def watched(average: DynamicAverage, grads: Tensors) -> None:
        norms.append(torch.stack(torch._foreach_norm(list(grads.values()))).norm().item())
        read(average, grads)

    monkeypatch.setattr(DynamicAverage, 'read_gradients', watched)
    monkeypatch.syspath_prepend(ROOT / 'plugins' / 'coinkit-ewc')
    load_plugins(['coinkit_ewc'])
    two, digests = [dict(type='EWC', num_samples=2, ewc_lambda=1e6), dict(type='DynamicEMA', ema_when='always')], []
    for name, others in (('ewc_first', two), ('ewc_last', two[::-1])):
        norms.clear()
        file = write_config(tmp_path / f'{name}.py', [LORA, *others], plugins=['coinkit_ewc'])
        digests.append(mini_engine.train(config(str(file), 'evaluation.limit=1', 'evaluation.zero_shot=False',
                                                'schedule.steps=2', 'schedule.warmup_steps=0'), tmp_path / name))
        record = logged(tmp_path / name)[-1]
        assert record['EWC.penalty'] > 0 and 'DynamicEMA.alpha' in record
        assert record['grad_norm'] == pytest.approx(sum(norms[2:]) / 2, rel=1e-4), name
        stored = adapter(tmp_path / name, '01-textvqa')
        kept = load_file(tmp_path / name / 'stages/01-textvqa/methods/methods.safetensors')
        for key, value in stored.items():
            parameter = key.partition('.')[2].replace('.lora.', '.bank_')
            assert torch.equal(kept[f'EWC/anchor/{parameter}'], value), f'{name}: {key}'
    assert not [name for name in differing(*digests) if not name.endswith('methods.json')]


@pytest.mark.slow
def test_two_processes_average_what_one_averages(tmp_path: Path) -> None:
    """DDP and ZeRO 0 to 3, both formulas, within 1e-6."""
    report = tmp_path / 'report.txt'
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
               str(Path(__file__).with_name('ema_toy.py')), str(report)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), 'DS_ACCELERATOR': 'cpu'}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert report.read_text().split() == ['ddp', 'zero0', 'zero1', 'zero2', 'zero3', 'zero3_small']
