"""Tensors that hold several blocks: every block has the average it would have as a tensor of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from coinkit.nn import ema_parts
from coinkit.nn.bank import AdapterBank
from coinkit.nn.ema import DynamicAverage, Norms
from coinkit.nn.ema_parts import Parts

Tensors = dict[str, Tensor]
Walk = tuple[Tensors, list[tuple[Tensors, Tensors]]]
SIZES = (4, 2, 6)
PARTS = {f'{module}.{half}': Parts(dim, SIZES) for module in ('q', 'k', 'v') for half, dim in (('A', 0), ('B', 1))}
SHAPES = {**{f'{module}.A': (12, 9) for module in 'qkv'}, **{f'{module}.B': (7, 12) for module in 'qk'}, 'v.B': (5, 12),
          'q.router': (3, 9), 'projector': (4, 4)}
ROUTES = ('on_cpu', 'on_device')


def walk(steps: int = 6, *, scale: float = 1.0, of: tuple[str, int] | None = None) -> Walk:
    """theta_0 and (theta_t, g_t); block number `of[1]` of tensor `of[0]` scaled."""
    generator = torch.Generator().manual_seed(0)

    def draw(size: float) -> Tensors:
        drawn = {name: size * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        if of is not None:
            list(drawn[of[0]].split(SIZES, PARTS[of[0]].dim))[of[1]].mul_(scale)
        return drawn

    start = draw(0.1)
    return start, [({name: value + 0.02 * t for name, value in draw(0.1).items()}, draw(0.2)) for t in range(steps)]


def average(route: str, **options) -> DynamicAverage:
    found = DynamicAverage(parts=PARTS, **options)
    if route == 'on_device':
        found.stacked.on_cpu, found._norms = False, Norms([torch.zeros(1)])
        found._norms.on_cpu = False
    return found


def step(each: DynamicAverage, theta: Tensors, grads: Tensors) -> Tensor:
    each.read_gradients(grads)
    return each.update(theta)


def cut(tensors: Tensors) -> Tensors:
    """Every block as a tensor."""
    found = {}
    for name, tensor in tensors.items():
        blocks = tensor.split(SIZES, PARTS[name].dim) if name in PARTS else [tensor]
        found.update({f'{name}/{number}': block.contiguous() for number, block in enumerate(blocks)})
    return found


@pytest.mark.parametrize('route', ROUTES)
@pytest.mark.parametrize('options', [dict(), dict(formula='paper'), dict(rounded=torch.bfloat16), dict(fixed=0.2)], ids=str)
def test_each_block_is_averaged_as_a_tensor_of_its_own(route: str, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ema_parts, 'CHUNK', 250)  # two tensors of a kind at a time
    start, steps = walk()
    whole, separate = average(route, **options), DynamicAverage(**options)
    whole.start(start)
    separate.start(cut(start))
    inside = []
    for theta, grads in steps:
        inside.append(step(whole, theta, grads))
        expected = step(separate, cut(theta), cut(grads))
        if 'fixed' not in options:
            torch.testing.assert_close(inside[-1].sort()[0], expected.sort()[0], rtol=1e-4, atol=1e-6)
            assert len(expected) == 6 * len(SIZES) + 2
    if 'fixed' not in options:
        assert any(((alpha > 0.011) & (alpha < 1)).sum() > 6 for alpha in inside), 'the formula must have been at work'
    found = cut(whole.average)
    for name, value in separate.average.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-3 if 'rounded' in options else 1e-6)


@pytest.mark.parametrize('route', ROUTES)
@pytest.mark.parametrize('name', ['q.A', 'k.B'])
def test_scaling_one_block_changes_no_others_share(route: str, name: str) -> None:
    ends = []
    for scale in (1.0, 100.0):
        start, steps = walk(scale=scale, of=(name, 1))
        each = average(route)
        each.start(start)
        for theta, grads in steps:
            step(each, theta, grads)
        ends.append(cut(each.average))
    assert all(torch.equal(ends[0][block], ends[1][block]) for block in ends[0] if block != f'{name}/1')
    assert not torch.allclose(100.0 * ends[0][f'{name}/1'], ends[1][f'{name}/1'])


@pytest.mark.parametrize('route', ROUTES)
def test_a_block_that_is_not_finite_stays_alone(route: str) -> None:
    start, steps = walk()
    clean, hurt = average(route), average(route)
    for each in (clean, hurt):
        each.start(start)
    for number, (theta, grads) in enumerate(steps):
        step(clean, theta, grads)
        if number == 3:
            grads = {**grads, 'q.B': grads['q.B'].clone()}
            grads['q.B'][:, 4] = math.inf
        step(hurt, theta, grads)
    found, expected = cut(hurt.average), cut(clean.average)
    assert all(value.isfinite().all() for value in found.values())
    assert all(torch.equal(found[name], expected[name]) for name in found if name != 'q.B/1')


@pytest.mark.parametrize('route', ROUTES)
@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_state_resumes_bit_for_bit(route: str, formula: str) -> None:
    start, steps = walk()
    straight, resumed = average(route, formula=formula), average(route, formula=formula)
    straight.start(start)
    for each in steps[:3]:
        step(straight, *each)
    norms = resumed._norms
    resumed.load_state_dict(straight.state_dict(), torch.device('cpu'))
    resumed._norms = norms
    for each in steps[3:]:
        step(straight, *each)
        step(resumed, *each)
    assert all(torch.equal(straight.average[name], resumed.average[name]) for name in start)


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_on_a_device_no_value_is_looked_at(formula: str) -> None:
    start, steps = walk()
    each = average('on_device', formula=formula)
    with FakeTensorMode() as mode:
        fake = [{name: mode.from_tensor(value) for name, value in tensors.items()}
                for tensors in (start, *steps[0], *steps[1])]
        each.start(fake[0])
        step(each, *fake[1:3])
        alpha_K = step(each, *fake[3:5])
        with pytest.raises(DataDependentOutputException):
            float(alpha_K.mean())


def test_a_bank_stacks_its_blocks_as_parts_say() -> None:
    """Where block 1's values lie in the bank's parameters is where its part lies."""
    model = torch.nn.Sequential(torch.nn.Linear(5, 3))
    bank = AdapterBank(model, ['0'], gate='softmax')
    for name, rank in zip('abc', SIZES, strict=True):
        bank.add(name, rank=rank, scale=1.0)
    state = bank.state_dict()
    parameters = bank.trainable_parameters()
    assert bank.live == ('a', 'b', 'c')
    for number, name in enumerate(bank.live):
        assert torch.equal(parameters['0.bank_A'].detach().split(SIZES, 0)[number], state[f'0.{name}.A'])
        assert torch.equal(parameters['0.bank_B'].detach().split(SIZES, 1)[number], state[f'0.{name}.B'])
