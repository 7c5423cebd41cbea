"""MoELoRA (CoIN): E small LoRA experts per linear under a dense per-token softmax router, trained on over the stream.

g(x) = softmax(G x);  y = W x + s * sum_i g_i(x) B_i A_i drop_i(x)  with r_e = rank / E and s = alpha / rank (total rank);
moe_r='per_expert' gives every expert the whole rank.
A_i ~ N(0, 0.01^2), B_i = 0, G ~ U(-1/sqrt(d_in), 1/sqrt(d_in)); no top-k, no noise, no balance loss. The mixture depends
on the input and cannot be merged into W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from coinkit.errors import Problem
from coinkit.methods.fine_tune import FineTune

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank


class MoELoRA(FineTune):
    """Sequential fine-tuning of a mixture of LoRA experts."""

    step_budget = 1.1

    def __init__(self, *, num_experts: int = 8, rank: int = 128, alpha: float = 256.0, dropout: float = 0.05,
                 moe_dropout: Literal['shared', 'per_expert'] = 'shared', moe_r: Literal['total', 'per_expert'] = 'total',
                 targets: str | list[str] | None = None, train_projector: bool = True):
        super().__init__(rank=rank, alpha=alpha, dropout=dropout, targets=targets, train_projector=train_projector)
        self.num_experts, self.moe_dropout, self.moe_r = num_experts, moe_dropout, moe_r

    @classmethod
    def preflight(cls, *, num_experts: int = 8, rank: int = 128, moe_dropout: str = 'shared', moe_r: str = 'total',
                  **rest: Any) -> list[Problem]:
        """A total rank is shared by the experts, so it must divide."""
        problems = FineTune.preflight(rank=rank, **rest)
        if moe_r not in ('total', 'per_expert'):
            problems.append(Problem('methods: moe_r', f"'{moe_r}' given, 'total' or 'per_expert' allowed."))
        if num_experts < 1 or moe_r == 'total' and rank % num_experts:
            problems.append(Problem('methods: num_experts', f'{num_experts} experts cannot share a total rank of {rank}.',
                                    'Choose a rank that num_experts divides.'))
        if moe_dropout not in ('shared', 'per_expert'):
            problems.append(Problem('methods: moe_dropout', f"'{moe_dropout}' given, 'shared' or 'per_expert' allowed."))
        return problems

    def insert_bank(self, backbone: Any, config: Any) -> AdapterBank:
        from coinkit.nn.bank import split_rank
        from coinkit.nn.seeding import generator

        bank = backbone.insert_bank(targets=self.targets, gate='softmax', dropout=self.dropout,
                                    dropout_mode=self.moe_dropout)
        experts = [f'expert-{i}' for i in range(self.num_experts)]
        rank = split_rank(self.rank, self.num_experts) if self.moe_r == 'total' else self.rank
        bank.add(experts, rank=rank, scale=self.alpha / self.rank, init='normal', generator=generator(config.seed, 'init'))
        return bank
