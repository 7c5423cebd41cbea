"""EWC against hand-made numbers and against its formula, term by term."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import pytest
import torch
from coinkit import RunError
from torch import Tensor, nn

import coinkit_ewc
from coinkit_ewc.ewc import EWC


def made(*tasks: tuple[list[float], list[float]], **options) -> EWC:
    """EWC that remembers tasks (F, theta*) of one parameter."""
    ewc = EWC(**options)
    for fisher, anchor in tasks:
        ewc.remember({'w': torch.tensor(fisher, dtype=torch.float64)}, {'w': torch.tensor(anchor, dtype=torch.float64)})
    return ewc


def value_and_slope(ewc: EWC, theta: Tensor) -> tuple[Tensor, Tensor]:
    value, (slope,) = ewc.penalty({'w': theta})
    return value, slope


@pytest.mark.parametrize('mode', ['separate', 'online'])
def test_the_numbers_of_the_specification(mode: str) -> None:
    ewc = made(([2.0, 0.0], [1.0, 1.0]), mode=mode, ewc_lambda=10)
    value, slope = value_and_slope(ewc, torch.tensor([3.0, 5.0], dtype=torch.float64))
    assert float(value) == 40
    assert slope.tolist() == [40, 0]


@pytest.mark.parametrize('mode', ['separate', 'online'])
def test_value_and_gradient_are_those_of_the_sum_over_tasks(mode: str) -> None:
    generator = torch.Generator().manual_seed(3)
    fishers = [torch.rand(50, generator=generator, dtype=torch.float64) ** 4 for _ in range(4)]
    anchors = [torch.randn(50, generator=generator, dtype=torch.float64) for _ in range(4)]
    fishers[1][:5] = fishers[0][:5] = 0  # unimportant for both; 0 / 0 must not appear
    theta = torch.randn(50, generator=generator, dtype=torch.float64, requires_grad=True)
    if mode == 'separate':
        energy = sum((f * (theta - a) ** 2).sum() for f, a in zip(fishers, anchors, strict=True))
    else:
        decayed = sum(0.9 ** (3 - i) * f for i, f in enumerate(fishers))
        energy = (decayed * (theta - anchors[-1]) ** 2).sum()
    expected = 7.0 / 2 * energy
    expected.backward()
    ewc = made(*zip([f.tolist() for f in fishers], [a.tolist() for a in anchors], strict=True), mode=mode, gamma=0.9,
               ewc_lambda=7.0)
    value, slope = value_and_slope(ewc, theta.detach())
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(slope, theta.grad, rtol=1e-9, atol=1e-13)


def test_online_with_gamma_1_is_separate_when_the_anchors_coincide() -> None:
    tasks = [([1.0, 0.5], [2.0, -1.0]), ([0.25, 0.0], [2.0, -1.0]), ([0.0, 3.0], [2.0, -1.0])]
    theta = torch.tensor([0.5, 4.0], dtype=torch.float64)
    separate, online = (value_and_slope(made(*tasks, mode=mode, gamma=1.0), theta) for mode in ('separate', 'online'))
    assert float(separate[0]) == float(online[0])
    assert separate[1].tolist() == online[1].tolist()


def test_memory_does_not_grow_with_the_number_of_tasks() -> None:
    one, five = made(([1.0], [1.0])), made(*[([1.0], [float(i)]) for i in range(5)])
    assert one.coinkit_state_dict(None).keys() == five.coinkit_state_dict(None).keys()
    assert five.fisher['w'].shape == (1,) and five.anchor['w'].item() == 2.0  # the mean of 0..4
    assert five.constant.item() == pytest.approx(10.0)  # 4 + 1 + 0 + 1 + 4
    assert one.stored_numbers(None) == five.stored_numbers(None) == 3  # F, theta* and the constant


def test_what_the_loss_does_not_reach_is_left_alone() -> None:
    ewc = EWC()
    ewc.remember({'w': torch.ones(2), 'unused': torch.zeros(2)}, {'w': torch.ones(2), 'unused': torch.ones(2)})
    assert list(ewc.fisher) == ['w']


# --- blocks that come and go --------------------------------------------------------------------------------------


class OneStep:
    """A state in the middle of a step: one parameter, of a bank's block."""

    def __init__(self, live: str, weight: Tensor):
        self.bank, self.parameter, self.notes = SimpleNamespace(live=(live,)), nn.Parameter(weight), {}
        self.strategy = SimpleNamespace(
            device='cpu', full_params=lambda names, copy: {'q.bank_A': self.parameter.detach()},
            grads=lambda names: {'q.bank_A': torch.zeros_like(weight)}, set_grads=self.notes.update)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {'q.bank_A': self.parameter}

    def note(self, name: str, value: Tensor) -> None:
        self.notes[name] = value


def test_a_block_s_values_are_not_held_against_another_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter q.bank_A is task-1's now and task-2's later; also after the state was saved and read."""
    ewc = EWC(ewc_lambda=2.0)
    monkeypatch.setattr(ewc, 'estimate', lambda state: {'q.bank_A': torch.ones(2)})
    ewc.coinkit_end_task(OneStep('task-1', torch.zeros(2)))
    again = EWC(ewc_lambda=2.0)
    again.coinkit_load_state_dict(OneStep('task-1', torch.zeros(2)), ewc.coinkit_state_dict(None))
    for method in (ewc, again):
        same = OneStep('task-1', torch.tensor([1.0, -3.0]))
        method.coinkit_before_step(same)
        assert same.notes['q.bank_A'].tolist() == [2, -6]
        with pytest.raises(RunError, match=r"EWC: the blocks \['task-1'\] trained before and \['task-2'\] train now"):
            method.coinkit_before_step(OneStep('task-2', torch.ones(2)))


# --- the Fisher information ---------------------------------------------------------------------------------------


class ToyState:
    """As much of a run as a data pass needs: softmax regression on a few rows of numbers."""

    index = 0
    task = SimpleNamespace(name='toy')

    def __init__(self, x_NF: Tensor, y_N: Tensor, weight_VF: Tensor):
        self.x_NF, self.y_N, self.weight = x_NF, y_N, nn.Parameter(weight_VF)
        self.strategy = SimpleNamespace(device='cpu', all_reduce_sum=lambda tensor: tensor)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {'weight': self.weight}

    def train_samples(self) -> range:
        return range(len(self.x_NF))

    def draw(self, samples: range, count: int) -> range:
        return samples[:count]

    def generator(self, *parts: object) -> torch.Generator:
        return torch.Generator().manual_seed(crc32(repr(parts).encode()))

    def each_batch(self, samples: range, *, grad: bool, batch_size: int, label: str) -> Iterator[tuple]:
        assert grad
        for start in range(0, len(samples), batch_size):
            rows = slice(start, min(start + batch_size, len(samples)))
            logits_NV = self.x_NF[rows] @ self.weight.T
            loss_N = nn.functional.cross_entropy(logits_NV, self.y_N[rows], reduction='none')
            ids = [str(i) for i in range(len(self.x_NF))][rows]
            yield type('Rows', (), {'ids': ids, '__len__': lambda self: len(self.ids)})(), SimpleNamespace(
                token_loss_N=loss_N, logits_NV=logits_NV, labels_N=self.y_N[rows])


@pytest.fixture
def toy() -> ToyState:
    generator = torch.Generator().manual_seed(0)
    return ToyState(torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1]),
                    torch.randn(4, 3, generator=generator))


def by_hand(toy: ToyState, batches: list[list[int]]) -> Tensor:
    """The mean over batches of the squared gradient of the mean log-likelihood, with softmax's own derivative."""
    weight_VF = toy.weight.detach()
    squares = []
    for rows in batches:
        p_NV = (toy.x_NF[rows] @ weight_VF.T).softmax(-1)
        residual_NV = nn.functional.one_hot(toy.y_N[rows], 4) - p_NV
        squares.append(((residual_NV.T @ toy.x_NF[rows]) / len(rows)) ** 2)
    return torch.stack(squares).mean(0)


def test_the_fisher_is_the_mean_square_of_each_samples_gradient(toy: ToyState) -> None:
    fisher = EWC(num_samples=6).estimate(toy)['weight']
    torch.testing.assert_close(fisher, by_hand(toy, [[i] for i in range(6)]))
    assert bool((fisher >= 0).all()) and bool(fisher.any())
    torch.testing.assert_close(EWC(num_samples=2).estimate(toy)['weight'], by_hand(toy, [[0], [1]]))


def test_batch_sq_is_the_square_of_a_batchs_mean_and_equal_at_batch_size_1(toy: ToyState) -> None:
    fisher = EWC(fisher_est='batch_sq', batch_size=4).estimate(toy)['weight']
    torch.testing.assert_close(fisher, by_hand(toy, [[0, 1, 2, 3], [4, 5]]))
    one = EWC(fisher_est='batch_sq', batch_size=1).estimate(toy)['weight']
    assert torch.equal(one, EWC(fisher_est='per_sample').estimate(toy)['weight'])


def test_true_labels_are_drawn_from_the_model(toy: ToyState) -> None:
    draws = [EWC(fisher='true').estimate(toy)['weight'] for _ in range(2)]
    assert torch.equal(*draws), 'the draw depends on the seed and the sample alone'
    x_NF, y_N = torch.eye(4)[[0, 0]], torch.tensor([1, 1])
    certain = ToyState(x_NF, y_N, torch.diag(torch.full((4,), 40.0)))  # sure of 0, and the data say 1
    assert EWC(fisher='true').estimate(certain)['weight'].max() < 1e-6
    assert EWC(fisher='empirical').estimate(certain)['weight'].max() > 0.9


# --- the plug-in as such ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('wrong', [{'ewc_lambda': -1.0}, {'gamma': 1.5, 'mode': 'online'}, {'num_samples': 0},
                                   {'batch_size': 0, 'fisher_est': 'batch_sq'}])
def test_values_no_run_can_use(wrong: dict[str, float]) -> None:
    (problem,) = EWC.preflight(**wrong)
    assert next(iter(wrong)) in str(problem) and 'allowed' in str(problem)
    assert EWC.preflight() == []


def test_what_would_not_be_read_is_refused() -> None:
    (gamma,), (size,) = EWC.preflight(gamma=0.5), EWC.preflight(batch_size=4)
    assert "EWC: gamma: given 0.5, and mode='separate' does not read it." in str(gamma)
    assert "EWC: batch_size: given 4, and fisher_est='per_sample' does not read it." in str(size)
    assert EWC.preflight(gamma=0.5, mode='online') == EWC.preflight(batch_size=4, fisher_est='batch_sq') == []
    assert EWC.preflight(gamma=0.95, batch_size=8) == []


def test_only_the_public_api_is_imported() -> None:
    public = {'coinkit', 'coinkit.methods'}
    for path in Path(coinkit_ewc.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) else []
            foreign = {name for name in names if name.partition('.')[0] not in {'torch', *sys.stdlib_module_names}}
            assert foreign <= public, path
