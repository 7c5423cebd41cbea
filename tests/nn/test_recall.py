"""A frozen module is run once for two forwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coinkit.nn.recall import Recall


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.weight = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, x):
        self.calls += 1
        return x * self.weight


def test_outputs_are_given_again_in_the_order_of_the_calls() -> None:
    module = Counted().train()
    recall = Recall(module)
    first, second = module(torch.ones(2)), module(torch.zeros(2))
    with recall.repeated():
        assert module(None) is first and module(None) is second
    assert module.calls == 2 and torch.equal(module(torch.ones(2)), torch.ones(2)) and module.calls == 3
    recall.remove()
    module(torch.ones(2))
    assert recall.outputs == [] and 'forward' not in vars(module)


def test_without_a_call_before_it_runs_as_ever() -> None:
    module = Counted().train()
    with Recall(module).repeated():
        module(torch.ones(2))
    assert module.calls == 1


def test_passes_in_eval_mode_are_not_kept() -> None:
    module = Counted().eval()
    recall = Recall(module)
    module(torch.ones(2))
    assert recall.outputs == []


def test_a_module_that_trains_is_refused() -> None:
    with pytest.raises(AssertionError):
        Recall(nn.Linear(2, 2))
