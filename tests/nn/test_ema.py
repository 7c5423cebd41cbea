"""The dynamic average against a plain per-tensor reference in double precision, its vectors, and no look at the device."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from coinkit.nn.ema import FALLBACK, DynamicAverage, Norms, dynamic_alpha, dynamic_share

Tensors = dict[str, Tensor]
THETA, AVERAGE, GRAD, LAST_GRAD = (1.0, -2.0), (0.5, -1.0), (3.0, -1.0), (-1.0, 3.0)  # a = 1.5, b = 4, c = 8


def one(value: tuple[float, ...]) -> Tensors:
    return {'w': torch.tensor(value)}


def step(average: DynamicAverage, theta: Tensors, grads: Tensors) -> Tensor:
    average.read_gradients(grads)
    return average.update(theta)


def started(theta: tuple[float, ...] = AVERAGE, grad: tuple[float, ...] = LAST_GRAD, **options) -> DynamicAverage:
    """As if theta*_{t-1} and g_{t-1} were given."""
    average = DynamicAverage(**options)
    average.start(one(theta))
    average.last_grads = one(grad)
    return average


def test_the_released_vector() -> None:
    average = started()
    assert step(average, one(THETA), one(GRAD)).tolist() == pytest.approx([10 / 12])
    assert average.average['w'].tolist() == pytest.approx([0.9166667, -1.8333333])
    assert torch.equal(average.last_grads['w'], torch.tensor(GRAD))


def test_the_papers_vector() -> None:
    """theta_{t-1} = (0.9, -1.8), so its distance to theta*_{t-1} is 1.2."""
    average = started(formula='paper')
    average.way_K = torch.tensor([1.2])
    assert step(average, one(THETA), one(GRAD)).tolist() == pytest.approx([0.5])
    assert average.average['w'].tolist() == pytest.approx([0.75, -1.5])
    assert average.way_K.tolist() == pytest.approx([0.75])  # what the next step divides by: ||theta_t - theta*_t||


@pytest.mark.parametrize(('theta', 'grad'), [(THETA, LAST_GRAD), (AVERAGE, GRAD)], ids=['c = 0', 'a = 0'])
def test_where_nothing_moved_the_share_is_001(theta: tuple[float, ...], grad: tuple[float, ...]) -> None:
    assert step(started(), one(theta), one(grad)).item() == pytest.approx(FALLBACK)


def test_a_share_of_exactly_1_is_none() -> None:
    known = [torch.tensor([value]) for value in (2.0, 3.0, 4.0, 2.0)]  # 2 (1 + 3) / (2 * 4)
    assert dynamic_share(2.0, 3.0, 4.0) == FALLBACK and dynamic_alpha(*known).item() == pytest.approx(FALLBACK)


@pytest.mark.parametrize('distance', [0.0, 1.5, math.inf, math.nan])
@pytest.mark.parametrize('change', [0.0, 8.0, 1e-30, math.nan])
@pytest.mark.parametrize('way', [2.0, 1.2, 0.0, math.nan])
def test_the_two_forms_of_the_choice_agree(distance: float, change: float, way: float) -> None:
    """One for norms on a device, one for norms that the CPU already holds."""
    on_device = dynamic_alpha(*(torch.tensor([value]) for value in (distance, 4.0, change, way)))
    assert on_device.item() == pytest.approx(dynamic_share(distance, 4.0, change, way))


def test_the_first_step_has_no_gradient_before_it() -> None:
    average = DynamicAverage()
    average.start(one(AVERAGE))
    assert step(average, one(THETA), one(GRAD)).item() == pytest.approx(0.01)
    assert step(average, one(THETA), one(LAST_GRAD)).item() != pytest.approx(0.01)


def test_a_constant_share_is_the_sum_of_powers() -> None:
    """theta*_n = (1 - a)^n theta*_0 + a sum_i (1 - a)^(n - i) theta_i   (Eq. 21); no gradient is asked for."""
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    average = DynamicAverage(fixed=0.2)
    average.start({'w': values[0]})
    for value in values[1:]:
        average.update({'w': value})
    expected = 0.8 ** 4 * values[0] + sum(0.2 * 0.8 ** (4 - i) * values[i] for i in range(1, 5))
    torch.testing.assert_close(average.average['w'], expected)


def walk(seed: int = 0, steps: int = 6) -> tuple[Tensors, list[tuple[Tensors, Tensors]]]:
    """theta_0 and (theta_t, g_t) of tensors of several shapes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {'A': (4, 6), 'B': (5, 4), 'bias': (7,), 'scalar': ()}

    def draw(size: float) -> Tensors:
        return {name: size * torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    start = draw(0.1)
    return start, [({name: value + 0.03 * t for name, value in draw(0.1).items()}, draw(0.2)) for t in range(steps)]


def plain(formula: str, start: Tensors, steps: list[tuple[Tensors, Tensors]]) -> Tensors:
    """The equations, a tensor and a step at a time."""
    ends = {}
    for name in start:
        average, theta_before, grad_before = start[name].double(), start[name].double(), None
        for theta, grad in ((theta[name].double(), grads[name].double()) for theta, grads in steps):
            alpha = math.nan
            if grad_before is not None:
                way = 2.0 if formula == 'released' else float((theta_before - average).abs().sum())
                alpha = float(way * (1 + grad.abs().sum()) / ((theta - average).abs().sum()
                                                              * (grad - grad_before).abs().sum()))
            alpha = alpha if 0 < alpha < 1 else 0.01
            average = (1 - alpha) * average + alpha * theta
            theta_before, grad_before = theta, grad
        ends[name] = average.float()
    return ends


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_it_is_the_plain_reference(formula: str) -> None:
    start, steps = walk()
    average = DynamicAverage(formula=formula)
    average.start(start)
    inside = [step(average, *each) for each in steps]
    assert any(((alpha_K > 0.011) & (alpha_K < 1)).any() for alpha_K in inside)  # the formula was at work
    for name, expected in plain(formula, start, steps).items():
        torch.testing.assert_close(average.average[name], expected, rtol=1e-5, atol=1e-6)


def test_the_choice_is_per_tensor() -> None:
    """Scaling one tensor changes no other's share."""
    start, steps = walk()
    ends = []
    for scale in (1.0, 100.0):
        average = DynamicAverage()
        average.start({**start, 'A': scale * start['A']})
        for theta, grads in steps:
            step(average, {**theta, 'A': scale * theta['A']}, {**grads, 'A': scale * grads['A']})
        ends.append(average.average)
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start if name != 'A')
    assert not torch.allclose(100.0 * ends[0]['A'], ends[1]['A'])


def test_a_tensor_without_a_gradient_falls_back_then_and_in_the_next_step() -> None:
    start, steps = walk()
    average = DynamicAverage()
    average.start(start)
    shares = []
    for number, (theta, grads) in enumerate(steps):
        grads = {**grads, 'A': torch.full((4, 6), math.nan)} if number == 2 else grads
        shares.append(dict(zip(start, step(average, theta, grads).tolist(), strict=True))['A'])
    fell = [share == pytest.approx(0.01) for share in shares]
    assert fell[0] and fell[2] and fell[3] and not fell[1] and not fell[4]
    assert all(value.isfinite().all() for value in average.average.values())


def test_rounded_to_another_dtype() -> None:
    start, steps = walk()
    average = DynamicAverage(rounded=torch.bfloat16)
    average.start(start)
    for each in steps:
        step(average, *each)
    for value in average.average.values():
        assert value.dtype == torch.float32 and torch.equal(value, value.bfloat16().float())


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_state_resumes_bit_for_bit(formula: str) -> None:
    start, steps = walk()
    straight, resumed = DynamicAverage(formula=formula), DynamicAverage(formula=formula)
    straight.start(start)
    for each in steps[:3]:
        step(straight, *each)
    resumed.load_state_dict(straight.state_dict(), torch.device('cpu'))
    for each in steps[3:]:
        step(straight, *each)
        step(resumed, *each)
    assert all(torch.equal(straight.average[name], resumed.average[name]) for name in start)
    assert set(straight.state_dict()) == {'average', 'last_grads', *(['way'] if formula == 'paper' else [])}


def as_on_a_device(start: Tensors, formula: str) -> DynamicAverage:
    average = DynamicAverage(formula=formula)
    average._norms = Norms(list(start.values()))
    average._norms.on_cpu = False
    return average


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_all_at_once_as_on_a_device_is_one_by_one_as_on_a_cpu(formula: str) -> None:
    start, steps = walk()
    together, one_by_one = as_on_a_device(start, formula), DynamicAverage(formula=formula)
    for average in (together, one_by_one):
        average.start(start)
    for each in steps:
        torch.testing.assert_close(step(together, *each), step(one_by_one, *each))
    torch.testing.assert_close(together.average, one_by_one.average)


@pytest.mark.parametrize('formula', ['released', 'paper'])
def test_on_a_device_no_value_is_looked_at(formula: str) -> None:
    """Fake tensors have no values: an `.item()`, or an `if` on one, is an error."""
    start, steps = walk()
    average = as_on_a_device(start, formula)
    with FakeTensorMode() as mode:
        fake = [{name: mode.from_tensor(value) for name, value in each.items()} for each in (start, *steps[0], *steps[1])]
        average.start(fake[0])
        step(average, *fake[1:3])
        alpha_K = step(average, *fake[3:5])
        with pytest.raises(DataDependentOutputException):
            float(alpha_K.mean())
