"""The one-process strategy against the plain torch loop, and what the interface promises."""

from __future__ import annotations

import pytest
import torch
from toy_training import CLIP, STEPS, accumulate, adamw, global_batch, groups_of, lrs_of, make_toy, prepared, train

from coinkit.engine.strategies.one_device import OneDevice
from coinkit.errors import ConfigError, RunError


@pytest.fixture
def strategy(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    one = OneDevice(device='cpu')
    one.setup()
    yield one
    one.teardown()


def plain_loop():
    module = make_toy()
    optimizer = adamw([{k: v for k, v in group.items() if k != 'names'} for group in groups_of(module)])
    for step in range(STEPS):
        batches = global_batch(step)
        rows = sum(batch['labelled'].sum() for batch in batches)
        for group, lr in zip(optimizer.param_groups, lrs_of(step), strict=True):
            group['lr'] = lr
        sum(module(batch)['loss'] / rows for batch in batches).backward()
        module.unused.grad = torch.zeros_like(module.unused)
        torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return dict(module.named_parameters())


def test_five_steps_equal_the_plain_loop(strategy):
    result = train(prepared(strategy, make_toy()))
    reference = plain_loop()
    for name, value in result['params'].items():
        torch.testing.assert_close(value, reference[name].detach(), atol=1e-6, rtol=1e-6)
    assert result['norms'].max() > CLIP, 'clipping must have been at work'


def test_set_grads_is_what_the_optimizer_sees(strategy):
    module = make_toy()
    prepared(strategy, module, clip=0.0)
    accumulate(strategy, 0)
    grads = strategy.grads(['layers.0.bank_A'])
    strategy.set_grads({'layers.0.bank_A': torch.full_like(grads['layers.0.bank_A'], 2.0)})
    strategy.step(lrs_of(0))
    moment = strategy.optimizer_state()['layers.0.bank_A']['exp_avg']
    torch.testing.assert_close(moment, torch.full_like(moment, 0.2))


def test_a_missing_gradient_names_the_parameter(strategy):
    prepared(strategy, make_toy())
    with pytest.raises(RunError, match='No gradient for layers.0.bank_A'):
        strategy.grads(['layers.0.bank_A'])
    accumulate(strategy, 0)
    with pytest.raises(RunError, match='No gradient for unused'):
        strategy.grads()
    assert strategy.missing_grads() == ['unused']
    strategy.step(lrs_of(0))
    with pytest.raises(RunError, match='between the last backward and step'):
        strategy.grads(['layers.0.bank_A'])


def test_without_a_copy_the_tensors_themselves_are_given(strategy):
    module = prepared(strategy, make_toy())._module
    accumulate(strategy, 0)
    weight = dict(module.named_parameters())['projector.weight']
    name = ['projector.weight']
    for given, own in ((strategy.grads, weight.grad), (strategy.full_params, weight)):
        assert given(name, copy=False)[name[0]].data_ptr() == own.data_ptr()
        assert given(name)[name[0]].data_ptr() != own.data_ptr()
        assert torch.equal(given(name)[name[0]], own) and not given(name, copy=False)[name[0]].requires_grad


def test_unknown_names_and_wrong_shapes(strategy):
    prepared(strategy, make_toy())
    with pytest.raises(RunError, match="Did you mean 'layers.0.bank_A'"):
        strategy.full_params(['layers.0.bank_a'])
    with pytest.raises(RunError, match=r'shape \(3, 6\), given \(2,\)'):
        strategy.set_full_params({'layers.0.bank_A': torch.zeros(2)})


def test_state_resumes_bit_for_bit(strategy):
    module = make_toy()
    prepared(strategy, module)
    train(strategy, steps=2)
    state, values = strategy.optimizer_state(), strategy.full_params()
    straight = train(strategy, first=2, steps=3)['params']
    strategy.release()
    other = make_toy()
    prepared(strategy, other)
    strategy.set_full_params(values)
    strategy.load_optimizer_state(state)
    resumed = train(strategy, first=2, steps=3)['params']
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_state_of_other_parameters_is_refused(strategy):
    prepared(strategy, make_toy())
    train(strategy, steps=1)
    state = strategy.optimizer_state()
    state['gone'] = state.pop('layers.1.bank_A')
    with pytest.raises(RunError, match='not in the saved state: layers.1.bank_A; not trained in this phase: gone'):
        strategy.load_optimizer_state(state)


def test_a_fresh_state_loads(strategy):
    prepared(strategy, make_toy())
    state = strategy.optimizer_state()
    assert state == {}
    strategy.load_optimizer_state(state)


def test_release_frees_and_the_module_can_be_prepared_again(strategy):
    module = make_toy()
    prepared(strategy, module)
    accumulate(strategy, 0)
    strategy.release()
    assert all(parameter.grad is None for parameter in module.parameters())
    prepared(strategy, module)


def test_empty_groups_are_refused(strategy):
    with pytest.raises(RunError, match='Parameter group 0 is empty'):
        strategy.prepare(make_toy(), adamw, [{'params': [], 'names': [], 'lr': 1.0, 'weight_decay': 0.0}],
                         accumulation=1, grad_clip=0.0)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ConfigError, match="type='OneDevice' was started as 2 processes"):
        OneDevice().setup()


def test_one_process_collectives_are_the_identity(strategy):
    assert strategy.gather_json({'a': [1, 'é']}) == [{'a': [1, 'é']}]
    assert strategy.any_rank(True) and not strategy.any_rank(False)
    assert strategy.all_reduce_sum(torch.ones(2)).tolist() == [1.0, 1.0]
    strategy.barrier()
