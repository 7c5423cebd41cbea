"""Other values for a forward: the parameters, their gradients and the graph before it are untouched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coinkit.nn.bank import AdapterBank
from coinkit.nn.swapping import with_values


class Tied(nn.Module):
    """An embedding whose weight is the head's too."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


def test_inside_the_other_values_are_read_and_afterwards_the_own() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, other = torch.randn(5, 3), nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before, parameters = model(x), dict(model.named_parameters())
    with with_values(model, {name: p.detach() for name, p in other.named_parameters()}):
        inside = model(x)
    assert torch.equal(inside, other(x)) and not inside.requires_grad
    assert torch.equal(model(x), before)
    assert all(now is then for now, then in zip(model.parameters(), parameters.values(), strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_graph_made_before_gives_the_same_gradients() -> None:
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    loss = model(x).square().sum()
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    with with_values(model, {'weight': torch.zeros(2, 3)}):
        model(x)
    loss.backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(model.parameters(), expected, strict=True))


def test_tied_parameters_are_exchanged_together() -> None:
    model, ids = Tied(), torch.arange(5)
    other = torch.randn(5, 4)
    with with_values(model, {'embed.weight': other}):
        torch.testing.assert_close(model(ids), other @ other.T)


def test_blocks_of_a_bank_are_exchanged() -> None:
    model = nn.Sequential(nn.Linear(6, 6, bias=False))
    bank = AdapterBank(model, ['0'])
    bank.add('lora', rank=2, scale=1.0)
    x, base = torch.randn(3, 6), model[0].base.weight
    old = {name: p.detach().clone() for name, p in bank.trainable_parameters().items()}
    bank.load_state_dict({'0.lora.A': torch.randn(2, 6), '0.lora.B': torch.randn(6, 2)})
    assert not torch.allclose(model(x), x @ base.T)
    with with_values(model, old):
        torch.testing.assert_close(model(x), x @ base.T)


def test_a_failing_forward_leaves_the_model_whole() -> None:
    model = nn.Linear(3, 2)
    own = model.weight
    with pytest.raises(RuntimeError), with_values(model, {'weight': torch.zeros(2, 3)}):
        model(torch.zeros(1, 7))
    assert model.weight is own
