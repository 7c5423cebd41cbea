"""O-LoRA: a new LoRA for every task, in a subspace orthogonal to the old ones (Wang et al., 2023).

y  = W x + s sum_{i<=t} B_i A_i x                                            old pairs (i < t) frozen, all of them summed
L' = L + lambda1 sum_{i<t} sum_{jk} |A_t A_i^T|_{jk} + lambda2 ||theta_t||_2          theta_t: the new pair of all modules

Both penalties enter as their gradients before each step. The old A's of a module lie one below the other, and modules of one
shape are one batched product (nn/subspaces.py). Inference uses the sum of all pairs, which can be merged into W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coinkit.errors import Problem
from coinkit.methods.fine_tune import FineTune
from coinkit.nn.subspaces import Overlap, norm

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank


class OLoRA(FineTune):
    """One LoRA per task, kept orthogonal to those of the tasks before."""

    storage = 'one adapter per task, in the bank'
    step_budget = 1.1
    blocks_change = 'task'

    def __init__(self, *, rank: int = 8, alpha: float = 32.0, dropout: float = 0.1, olora_lambda: float = 0.5,
                 olora_lambda2: float = 0.0, targets: str | list[str] | None = None, train_projector: bool = False):
        super().__init__(rank=rank, alpha=alpha, dropout=dropout, targets=targets, train_projector=train_projector)
        self.lambda1, self.lambda2 = olora_lambda, olora_lambda2
        self.overlap: Overlap | None = None  # with the old A's; None during the first task

    @classmethod
    def preflight(cls, *, olora_lambda: float = 0.5, olora_lambda2: float = 0.0, rank: int = 8, dropout: float = 0.1,
                  **_: Any) -> list[Problem]:
        """Values no run can use."""
        given = {'olora_lambda': olora_lambda, 'olora_lambda2': olora_lambda2}
        return [*FineTune.preflight(rank=rank, dropout=dropout),
                *(Problem(f'OLoRA: {key}', f'given {value}, allowed: 0 or more.')
                  for key, value in given.items() if value < 0)]

    def insert_bank(self, backbone: Any, config: Any) -> AdapterBank:
        from coinkit.nn.seeding import generator

        bank = backbone.insert_bank(targets=self.targets, dropout=self.dropout)
        self._add(bank, 0, generator(config.seed, 'init'))  # the same start as FineTune's
        return bank

    def _add(self, bank: AdapterBank, index: int, generator: torch.Generator) -> None:
        bank.add(f'task-{index + 1}', rank=self.rank, scale=self.alpha / self.rank, generator=generator)

    def coinkit_begin_task(self, state: Any) -> None:
        super().coinkit_begin_task(state)
        self.overlap = None
        if state.index > 0:
            old = list(state.bank.blocks)
            for block in old:
                state.bank.freeze(block)
            self._add(state.bank, state.index, state.generator('init', state.index))
            self.overlap = Overlap(stacked_A(state.bank, old, state.strategy.device))

    def coinkit_before_step(self, state: Any) -> None:
        if self.overlap is not None:
            value, slopes = self.overlap(state.strategy.full_params(self.overlap.names, copy=False))
            add_to_grads(state, slopes, self.lambda1)
            state.note('OLoRA.overlap', value)
        if self.lambda2:
            names = list(state.bank.trainable_parameters())
            value, slopes = norm(state.strategy.full_params(names, copy=False))
            add_to_grads(state, slopes, self.lambda2)
            state.note('OLoRA.norm', value)


def stacked_A(bank: AdapterBank, blocks: list[str], device: torch.device) -> dict[str, Tensor]:
    """The blocks' A's one below the other, by the name of the parameter that holds the new one."""
    state = bank.state_dict(blocks)
    return {f'{module}.bank_A': torch.cat([state[f'{module}.{block}.A'] for block in blocks]).to(device)
            for module in bank.targets}


def add_to_grads(state: Any, slopes: dict[str, Tensor], strength: float) -> None:
    """Add `strength` times the gradients of a penalty to those of the step."""
    grads = state.strategy.grads(slopes)
    torch._foreach_add_(list(grads.values()), list(slopes.values()), alpha=strength)
    state.strategy.set_grads(grads)
