"""The overlap of new and old factors against the plain double loop, and how many products it takes."""

from __future__ import annotations

import pytest
import torch

from coinkit.nn import subspaces
from coinkit.nn.subspaces import Overlap, norm

WIDTHS = {'q': 6, 'k': 6, 'v': 6, 'up': 6, 'down': 10}
RANK, TASKS = 3, 4


def factors(*, seed: int, rank: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rank, width, generator=generator, dtype=torch.float64) for name, width in WIDTHS.items()}


@pytest.mark.parametrize(('old', 'expected'), [([[0.0, 1.0]], 0.0), ([[1.0, 1.0]], 1.0), ([[0.0, 1.0], [1.0, 1.0]], 1.0)])
def test_the_numbers_of_the_specification(old, expected) -> None:
    value, slopes = Overlap({'A': torch.tensor(old)})({'A': torch.tensor([[1.0, 0.0]])})
    assert value.item() == expected
    assert slopes['A'].tolist() == ([[0.0, 0.0]] if expected == 0 else [[1.0, 1.0]])


def test_it_is_the_double_loop_over_modules_and_old_tasks() -> None:
    by_task = [factors(seed=task, rank=RANK) for task in range(TASKS)]
    new = {name: value.requires_grad_() for name, value in factors(seed=99, rank=RANK).items()}
    energy = sum((new[name] @ old[name].T).abs().sum() for old in by_task for name in WIDTHS)
    energy.backward()
    overlap = Overlap({name: torch.cat([old[name] for old in by_task]) for name in WIDTHS})
    value, slopes = overlap({name: leaf.detach() for name, leaf in new.items()})
    torch.testing.assert_close(value, energy.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slopes, {name: leaf.grad for name, leaf in new.items()}, rtol=1e-12, atol=1e-12)


def test_one_batched_product_per_distinct_shape(monkeypatch) -> None:
    calls, bmm = [], torch.bmm
    monkeypatch.setattr(subspaces.torch, 'bmm', lambda a, b: calls.append(tuple(a.shape)) or bmm(a, b))
    Overlap(factors(seed=0, rank=TASKS * RANK))(factors(seed=1, rank=RANK))
    assert len(calls) == 2 * 2  # the value and the gradient, for two widths


def test_the_norm_is_of_all_tensors_together() -> None:
    value, slopes = norm({'a': torch.tensor([3.0]), 'b': torch.tensor([[4.0, 0.0]])})
    assert value.item() == 5 and slopes['a'].item() == pytest.approx(0.6)
    assert slopes['b'].tolist() == [[pytest.approx(0.8), 0]]
    value, slopes = norm({'a': torch.zeros(2)})
    assert value.item() == 0 and slopes['a'].tolist() == [0, 0]
