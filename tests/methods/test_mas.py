"""MAS: importance of a linear model by hand, without labels; the penalty; runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coinkit.methods.mas import MAS
from coinkit.testing.small_runs import config, digest, logged, write_config

LORA = dict(type='FineTune', rank=4, alpha=8, dropout=0.1, train_projector=True)
QUICK = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.warmup_steps=0', 'schedule.steps=2')


class Toy:
    """As much of a run as a data pass needs: f(x) = x W^T on a few rows; labels and their loss are there to be ignored."""

    bank = None

    def __init__(self, x_NF: Tensor, weight_VF: Tensor, labels_N: Tensor):
        self.x_NF, self.weight, self.labels_N = x_NF, nn.Parameter(weight_VF), labels_N
        self.unused = nn.Parameter(torch.ones(2))
        self.strategy = SimpleNamespace(device='cpu', all_reduce_sum=lambda tensor: tensor)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {'weight': self.weight, 'unused': self.unused}

    def train_samples(self) -> range:
        return range(len(self.x_NF))

    def draw(self, samples: range, count: int) -> range:
        return samples[:count]

    def each_batch(self, samples: range, *, grad: bool, batch_size: int, label: str) -> Iterator[tuple[Any, Any]]:
        assert grad and batch_size == 1, 'one gradient per sample'
        for i in samples:
            logits_NV = self.x_NF[i:i + 1] @ self.weight.T
            loss_N = nn.functional.cross_entropy(logits_NV, self.labels_N[i:i + 1], reduction='none')
            yield None, SimpleNamespace(logits_NV=logits_NV, token_loss_N=loss_N, labels_N=self.labels_N[i:i + 1])


def toy(*, labels: int = 0, seed: int = 0) -> Toy:
    generator = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 3), (2, 3)))
    return Toy(x, weight, torch.full((5,), labels))


def test_a_linear_scalar_by_hand() -> None:
    """f = w x: Omega_w = E |2 w x^2|."""
    x, w = torch.tensor([[1.0], [-2.0], [3.0]]), torch.tensor([[-0.5]])
    omega = MAS().importance(Toy(x, w, torch.zeros(3, dtype=torch.long)))
    assert omega['weight'].item() == pytest.approx((2 * 0.5 * (1 + 4 + 9)) / 3)


def test_the_mean_is_of_absolute_values_sample_by_sample() -> None:
    run = toy()
    f_NV = run.x_NF @ run.weight.detach().T
    expected = torch.stack([(2 * f_V[:, None] * x_F).abs() for f_V, x_F in zip(f_NV, run.x_NF, strict=True)]).mean(0)
    omega = MAS().importance(run)
    torch.testing.assert_close(omega['weight'], expected)
    assert omega['unused'].tolist() == [0, 0] and bool((omega['weight'] >= 0).all())


@pytest.mark.parametrize('output', ['logits', 'probs'])
def test_labels_do_not_matter(output) -> None:
    first, second = (MAS(mas_output=output).importance(toy(labels=label))['weight'] for label in (0, 1))
    assert torch.equal(first, second) and bool(first.any())


def test_probabilities_are_another_output() -> None:
    run = toy()
    leaf = run.weight.detach().clone().requires_grad_()
    expected = torch.stack([torch.autograd.grad((x_F @ leaf.T).softmax(-1).square().sum(), leaf)[0].abs()
                            for x_F in run.x_NF]).mean(0)
    torch.testing.assert_close(MAS(mas_output='probs').importance(run)['weight'], expected)


def test_omega_is_the_mean_over_tasks_and_the_anchor_the_newest() -> None:
    mas, omegas = MAS(), [torch.tensor([float(value), 0.0]) for value in (3, 6, 0)]
    for number, omega in enumerate(omegas):
        mas.remember({'w': omega}, {'w': torch.full((2,), float(number))})
    torch.testing.assert_close(mas.omega['w'], torch.tensor([3.0, 0.0]))
    assert mas.anchor['w'].tolist() == [2.0, 2.0] and mas.stored_numbers(None) == 4


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('mas')


@pytest.fixture
def train(mini_engine, folder) -> Callable[..., Path]:
    def run(name: str, *methods: dict[str, Any]) -> Path:
        if not (folder / name / 'matrix.json').exists():
            file = write_config(folder / f'{name}.py', methods)
            mini_engine.train(config(str(file), *QUICK), folder / name)
        return folder / name

    return run


def learnt(run: Path) -> dict[str, str]:
    return {name: value for name, value in digest(run).items() if '/adapter/' in name}


def test_the_penalty_acts_from_the_second_task_on(train) -> None:
    run, plain = train('mas', LORA, dict(type='MAS', num_samples=2, mas_lambda=0.1)), train('plain', LORA)
    records = logged(run)
    assert all(('MAS.penalty' in record) == (record['stage'] == 2) for record in records)
    assert records[-1]['MAS.penalty'] > 0
    changed = {Path(name).parts[1] for name, value in learnt(run).items() if learnt(plain)[name] != value}
    assert changed == {'02-gqa'}


def test_lambda_0_is_sequential_lora_bit_for_bit(train) -> None:
    assert learnt(train('nothing', LORA, dict(type='MAS', num_samples=2, mas_lambda=0.0))) == learnt(train('plain', LORA))


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(mas_lambda=-0.1), 'mas_lambda: given -0.1, allowed: 0 or more'), (dict(num_samples=0), 'num_samples: given 0'),
    (dict(mas_output='hidden'), "given 'hidden', allowed: 'logits' or 'probs'")])
def test_bad_arguments(arguments, text) -> None:
    assert text in str(MAS.preflight(**arguments)[0])
