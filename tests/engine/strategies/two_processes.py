"""Every strategy against one process, run by torchrun on two CPU processes (see test_two_processes.py).

Each case is a function of a fresh strategy. Rank 0 writes one line per finished case to the report; a failure ends the
run, and the test of every case that is not in the report fails.
"""

from __future__ import annotations

import gc
import sys
from functools import cache
from pathlib import Path
from time import perf_counter

import pytest
import torch
from torch import nn
from toy_training import accumulate, adamw, global_batch, groups_of, lrs_of, make_toy, prepared, train

from coinkit.engine.strategies.ddp import DDP
from coinkit.engine.strategies.deep_speed import DeepSpeed
from coinkit.engine.strategies.one_device import OneDevice
from coinkit.errors import RunError

TOLERANCE = dict(atol=1e-6, rtol=1e-6)
SMALL_BUCKETS = {'zero_optimization': {'reduce_bucket_size': 40, 'stage3_param_persistence_threshold': 8}}
SETTINGS = {
    'ddp': lambda: DDP(device='cpu', timeout_minutes=1),
    'zero0': lambda: DeepSpeed(stage=0, device='cpu', timeout_minutes=1),
    'zero1': lambda: DeepSpeed(stage=1, device='cpu', timeout_minutes=1),
    'zero2': lambda: DeepSpeed(stage=2, device='cpu', timeout_minutes=1),
    'zero3': lambda: DeepSpeed(stage=3, device='cpu', timeout_minutes=1),
    'zero2_small': lambda: DeepSpeed(stage=2, config=SMALL_BUCKETS, device='cpu', timeout_minutes=1),
    'zero3_small': lambda: DeepSpeed(stage=3, config=SMALL_BUCKETS, device='cpu', timeout_minutes=1),
    'zero2_offload': lambda: DeepSpeed(stage=2, offload_optimizer=True, device='cpu', timeout_minutes=1),
    'zero3_offload': lambda: DeepSpeed(stage=3, offload_optimizer=True, offload_params=True, config=SMALL_BUCKETS,
                                       device='cpu', timeout_minutes=1),
}


@cache
def reference() -> dict:
    one = prepared(OneDevice(device='cpu'), make_toy())
    result = train(one)
    return {**result, 'state': one.optimizer_state()}


def close(given: dict, expected: dict) -> None:
    assert set(given) == set(expected)
    for name in expected:
        torch.testing.assert_close(given[name], expected[name], **TOLERANCE,
                                   msg=lambda text, name=name: f'{name} {text}')


def equal(given: dict, expected: dict) -> None:
    assert set(given) == set(expected)
    for name in expected:
        assert torch.equal(given[name], expected[name]), name


def case_five_steps(strategy) -> None:
    """Losses, gradients, norms, values and optimizer state agree with one process."""
    module = make_toy()
    prepared(strategy, module)
    result = train(strategy)
    for key in ('losses', 'norms'):
        torch.testing.assert_close(result[key], reference()[key], **TOLERANCE)
    for given, expected in zip(result['grads'], reference()['grads'], strict=True):
        close(given, expected)
    close(result['params'], reference()['params'])
    for name, entries in strategy.optimizer_state().items():
        close(entries, reference()['state'][name])


def case_missing_gradient(strategy) -> None:
    prepared(strategy, make_toy())
    with pytest.raises(RunError, match='No gradient for layers.0.bank_A'):
        strategy.grads(['layers.0.bank_A'])
    accumulate(strategy, 0)
    assert strategy.grads(['layers.0.bank_A'])
    with pytest.raises(RunError, match='No gradient for unused'):
        strategy.grads(['unused'])
    assert strategy.missing_grads(['unused', 'layers.0.bank_A']) == ['unused']
    strategy.step(lrs_of(0))
    with pytest.raises(RunError, match='No gradient for layers.0.bank_A'):
        strategy.grads(['layers.0.bank_A'])


def case_set_grads(strategy) -> None:
    """Replaced gradients reach norm, clipping and moments."""
    def run(one):
        prepared(one, make_toy())
        accumulate(one, 0)
        grads = one.grads(['layers.0.bank_A', 'projector.bias'])
        one.set_grads({name: value * 3 + 0.01 for name, value in grads.items()})
        norm = one.step(lrs_of(0))
        moments = {name: entries['exp_avg'] for name, entries in one.optimizer_state().items()}
        return {'norm': norm.reshape(()), **{f'moment {name}': value for name, value in moments.items()}}

    close(run(strategy), run(OneDevice(device='cpu')))


def case_set_params(strategy) -> None:
    """New values are what the next forward and the next step use."""
    def run(one):
        prepared(one, make_toy())
        train(one, steps=1)
        values = {name: value * 0.5 + 0.1 for name, value in one.full_params().items() if 'layers' in name}
        one.set_full_params(values)
        equal(one.full_params(list(values)), values)
        return train(one, first=1, steps=2)

    given, expected = run(strategy), run(OneDevice(device='cpu'))
    torch.testing.assert_close(given['losses'], expected['losses'], **TOLERANCE)
    close(given['params'], expected['params'])


def case_resume(strategy) -> None:
    """State into a freshly prepared strategy: the next steps are bit-equal."""
    module = make_toy()
    prepared(strategy, module)
    assert strategy.optimizer_state() == {}
    train(strategy, steps=2)
    state, values = strategy.optimizer_state(), strategy.full_params()
    on_rank0 = strategy.optimizer_state(to_rank0=True)
    assert bool(on_rank0) == strategy.is_main
    straight = train(strategy, first=2, steps=3)
    strategy.release()
    prepared(strategy, make_toy())
    strategy.set_full_params(values)
    strategy.load_optimizer_state(state)
    for name, entries in strategy.optimizer_state().items():
        equal(entries, state[name])
    resumed = train(strategy, first=2, steps=3)
    equal(resumed['params'], straight['params'])
    assert torch.equal(resumed['losses'], straight['losses'])


def case_to_one_device_and_back(strategy) -> None:
    """State moves between this strategy and one process, both ways."""
    prepared(strategy, make_toy())
    train(strategy, steps=2)
    one = prepared(OneDevice(device='cpu'), make_toy())
    one.set_full_params(strategy.full_params())
    one.load_optimizer_state(strategy.optimizer_state())
    train(one, first=2, steps=2)
    strategy.set_full_params(one.full_params())
    strategy.load_optimizer_state(one.optimizer_state())
    close(train(strategy, first=4, steps=1)['params'], reference()['params'])


def grow(module: nn.Module) -> None:
    """A block more, as a new task brings it: the old factors freeze, wider ones come."""
    for layer in module.layers:
        with torch.no_grad():
            layer.bank_A = nn.Parameter(torch.cat([layer.bank_A, layer.bank_A[:1] * 0.5]))
            layer.bank_B = nn.Parameter(torch.cat([layer.bank_B, layer.bank_B[:, :1] * 0.5], dim=1))


def case_phases(strategy) -> None:
    """Released modules are plain, hold the newest values, take new blocks and train on as in one process."""
    module, expected = make_toy(), make_toy()
    one = OneDevice(device='cpu')
    plain = [set(vars(child)) for child in expected.modules()]
    for phase in range(2):
        prepared(strategy, module)
        prepared(one, expected)
        train(strategy, first=phase, steps=2)
        train(one, first=phase, steps=2)
        values = strategy.full_params()
        strategy.release()
        one.release()
        state = {name: value.detach() for name, value in module.state_dict().items()}
        equal({name: state[name] for name in values}, values)
        close(state, expected.state_dict())
        assert [set(vars(child)) for child in module.modules()] == plain
        assert all(type(child._parameters) is dict for child in module.modules())
        assert not any(vars(parameter) for parameter in module.parameters())
        assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
        assert all(parameter.grad is None for parameter in module.parameters())
        grow(module)
        grow(expected)


def case_memory(strategy) -> None:
    """Ten phases leave no more tensors, and no more objects, than three do.

    Gloo's threads may hold a buffer a moment longer, so the least of three looks counts: a leak would show in each.
    """
    module = make_toy(rank=500)
    weights = sum(parameter.nbytes for parameter in module.parameters())
    tensors, objects = [], []
    train(prepared(strategy, module), steps=1)
    strategy.release()
    gc.freeze()  # what is imported by now needs no further look, which makes the collections quick
    for _ in range(10):
        prepared(strategy, module)
        train(strategy, steps=1)
        strategy.release()
        alive = gc.get_objects()
        tensors.append(sum(thing.untyped_storage().nbytes() for thing in alive if type(thing) is torch.Tensor))
        objects.append(len(alive))
        del alive
    assert min(tensors[-3:]) - min(tensors[:3]) < weights, f'tensor memory grew: {tensors}'
    assert min(objects[-3:]) - min(objects[:3]) < 20, f'objects grew: {objects}'


def case_collectives(strategy) -> None:
    assert strategy.gather_json({'rank': strategy.rank, 'long': 'x' * strategy.rank * 100}) == [
        {'rank': 0, 'long': ''}, {'rank': 1, 'long': 'x' * 100}]
    assert strategy.any_rank(strategy.rank == 1) and not strategy.any_rank(False)
    assert strategy.all_reduce_sum(torch.tensor([strategy.rank + 1.0])).tolist() == [3.0]
    assert strategy.broadcast(torch.tensor([strategy.rank])).tolist() == [0]
    strategy.barrier()


def case_uneven_use(strategy) -> None:
    """One rank's batch leaves the projector out of its forward: its gradient there counts as zero."""
    module = make_toy()
    prepared(strategy, module, micro_batches=2, clip=0.0)
    direct = torch.ones(3, 6)
    accumulate_one = (lambda: module.layers[0](direct).sum()) if strategy.rank else (
        lambda: module.layers[0](module.projector(torch.ones(3, 4))).sum())
    strategy.backward(accumulate_one(), last=True)
    other = make_toy()
    (other.layers[0](direct).sum() + other.layers[0](other.projector(torch.ones(3, 4))).sum()).backward()
    grads = strategy.grads(['projector.weight', 'layers.0.bank_A'])
    torch.testing.assert_close(grads['projector.weight'], other.projector.weight.grad, **TOLERANCE)
    torch.testing.assert_close(grads['layers.0.bank_A'], other.layers[0].bank_A.grad, **TOLERANCE)


def case_checkpointing(strategy) -> None:
    """Recomputed activations change nothing."""
    module = make_toy()
    module.checkpointing = True
    close(train(prepared(strategy, module))['params'], reference()['params'])


def case_changed_use(strategy) -> None:
    """ZeRO-2/3 refuse a micro-batch that leaves out a parameter: DeepSpeed would add up the wrong gradients."""
    module = make_toy()
    prepared(strategy, module)
    train(strategy, steps=1)
    batch = global_batch(1)[0]
    batch['no_picture'] = torch.ones(len(batch['x']), 6)
    loss = strategy.forward(batch)['loss']
    with pytest.raises(RunError, match='depends on no trainable parameter'):
        strategy.backward(loss.detach(), last=False)
    with pytest.raises(RunError, match='differs in projector.bias, projector.weight'):
        strategy.backward(loss, last=False)


def case_broadcast(strategy) -> None:
    """Fresh blocks that ranks drew differently start as rank 0 has them."""
    module = make_toy()
    with torch.no_grad():
        module.layers[0].bank_A.add_(strategy.rank)
    strategy.prepare(module, adamw, groups_of(module), accumulation=2, grad_clip=0.0)
    equal(strategy.full_params(['layers.0.bank_A']), {'layers.0.bank_A': make_toy().layers[0].bank_A.detach()})


FULL = (case_five_steps, case_missing_gradient, case_set_grads, case_set_params, case_resume,
        case_to_one_device_and_back, case_phases, case_memory, case_broadcast)
SHORT = (case_five_steps, case_set_grads, case_set_params)
CASES = {setting: (FULL if setting in ('ddp', 'zero1', 'zero2', 'zero3') else SHORT) for setting in SETTINGS}
CASES['ddp'] += (case_collectives, case_uneven_use)
for setting in ('zero2', 'zero3'):
    CASES[setting] += (case_checkpointing, case_changed_use)
NAMES = [f'{setting}-{case.__name__.removeprefix("case_")}' for setting, cases in CASES.items() for case in cases]


def main(report: Path, only: str = '') -> None:
    leader = SETTINGS['zero2']()
    leader.setup()
    for setting, cases in CASES.items():
        for case in cases:
            name = f'{setting}-{case.__name__.removeprefix("case_")}'
            if only not in name:
                continue
            start = perf_counter()
            strategy = SETTINGS[setting]()
            strategy.setup()
            case(strategy)
            if strategy._module is not None:
                strategy.release()
            if leader.is_main:
                with report.open('a') as file:
                    file.write(f'{name} {perf_counter() - start:.2f}\n')
    leader.teardown()


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
