"""Distillation and quadratic penalties against hand-made numbers, autograd and plain sums."""

from __future__ import annotations

import math

import pytest
import torch

from coinkit.nn.losses import TopK, distillation, distillation_top_k, quadratic, top_k


def test_the_number_of_the_specification() -> None:
    teacher, student = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    assert distillation(student, teacher, 1.0).item() == pytest.approx(0.130812, abs=5e-7)


@pytest.mark.parametrize('temperature', [1.0, 2.0])
def test_equal_models_have_no_loss_and_no_gradient(temperature) -> None:
    logits_NV = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for value_N in (distillation(logits_NV, logits_NV.detach(), temperature),
                    distillation_top_k(logits_NV, top_k(logits_NV.detach(), 7, temperature), temperature)):
        logits_NV.grad = None
        value_N.sum().backward()
        assert value_N.detach().abs().max() < 1e-6 and logits_NV.grad.abs().max() < 1e-6


def test_temperature_softens_both_and_scales_by_its_square() -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(4, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    p, q = (teacher / 3).softmax(-1), (student / 3).softmax(-1)
    expected_N = 9 * (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(distillation(student, teacher, 3.0).double(), expected_N, rtol=1e-5, atol=1e-6)


def test_top_k_is_exact_for_all_but_one_and_a_lower_bound_else() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(6, 12, generator=generator) for _ in range(2))
    full_N = distillation(student, teacher, 2.0)
    values = [distillation_top_k(student, top_k(teacher, k, 2.0), 2.0) for k in (1, 4, 8, 11)]
    torch.testing.assert_close(values[-1], full_N, rtol=1e-4, atol=1e-5)
    for fewer, more in zip(values, values[1:], strict=False):
        assert bool((fewer <= more + 1e-5).all())


def test_a_sure_teacher_leaves_the_rest_finite() -> None:
    student, teacher = torch.zeros(1, 5, requires_grad=True), torch.tensor([[200.0, 0, 0, 0, 0]])
    value_N = distillation_top_k(student, top_k(teacher, 2, 1.0), 1.0)
    value_N.sum().backward()
    assert torch.isfinite(value_N).all() and torch.isfinite(student.grad).all()


def test_no_position_is_no_loss() -> None:
    student = torch.zeros(0, 5, requires_grad=True)
    empty = TopK(torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int32))
    assert distillation(student, student.detach(), 2.0).sum() == 0 == distillation_top_k(student, empty, 2.0).sum()


def test_a_quadratic_penalty_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    theta, anchor, weight = ({name: torch.randn(size, generator=generator, dtype=torch.float64) ** 2
                              for name, size in (('a', (3, 2)), ('b', (4,)))} for _ in range(3))
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
    energy = 0.7 * sum((weight[name] * (leaves[name] - anchor[name]) ** 2).sum() for name in leaves)
    energy.backward()
    value, slopes = quadratic(theta, anchor, weight, 0.7)
    torch.testing.assert_close(value, energy.detach())
    torch.testing.assert_close(slopes, {name: leaf.grad for name, leaf in leaves.items()})
