"""A toy model shaped like coinkit's: frozen bf16 linears, fp32 adapters of several parameters, a projector.

Also the one loop that every strategy must train it with: five AdamW steps, accumulation 2, micro-batches of uneven
size dealt over the ranks, one micro-batch without any label.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

STEPS, ACCUMULATION, CLIP = 5, 2, 0.05
WIDTH = 6


class Adapted(nn.Module):
    """y = W x + B A x: a frozen bf16 linear and two fp32 factors of its own, as in the adapter bank."""

    def __init__(self, rank: int):
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH, bias=False).to(torch.bfloat16).requires_grad_(False)
        self.bank_A = nn.Parameter(torch.randn(rank, WIDTH) * 0.3)
        self.bank_B = nn.Parameter(torch.randn(WIDTH, rank) * 0.3)

    def forward(self, x):
        return self.base(x.to(torch.bfloat16)).float() + x @ self.bank_A.T @ self.bank_B.T


class Toy(nn.Module):
    """`module(batch)`: the sum of the labelled rows' losses, and a scalar for the log."""

    def __init__(self, rank: int = 3):
        super().__init__()
        self.checkpointing = False
        self.projector = nn.Linear(4, WIDTH)
        self.layers = nn.ModuleList([Adapted(rank), Adapted(rank + 1)])
        self.frozen_head = nn.Linear(WIDTH, 2).to(torch.bfloat16).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(5))

    def forward(self, batch):
        x = batch['no_picture'] if 'no_picture' in batch else self.projector(batch['x'])
        for layer in self.layers:
            x = torch.tanh(checkpoint(layer, x, use_reentrant=False) if self.checkpointing else layer(x))
        y = self.frozen_head(x.to(torch.bfloat16)).float()
        rows = batch['labelled']
        return {'loss': ((y[rows] - batch['y'][rows]) ** 2).sum(), 'rows': rows.sum()}


def make_toy(rank: int = 3) -> Toy:
    torch.manual_seed(7)
    return Toy(rank)


def groups_of(module: nn.Module) -> list[dict]:
    """Two groups as the trainer makes them: adapters, and the projector at a rate of its own."""
    groups = [{'params': [], 'names': [], 'lr': 1e-2, 'weight_decay': 0.1},
              {'params': [], 'names': [], 'lr': 5e-3, 'weight_decay': 0.0}]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            group = groups['projector' in name]
            group['params'].append(parameter)
            group['names'].append(name)
    return groups


def adamw(groups):
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)


def global_batch(step: int) -> list[dict]:
    """Four micro-batches of 1 to 4 rows; one of them has no label."""
    generator = torch.Generator().manual_seed(100 + step)
    batches = []
    for i in range(4):
        rows = 1 + (step + i) % 4
        labelled = torch.rand(rows, generator=generator) < 0.8
        labelled[0] = True
        batches.append({'x': torch.randn(rows, 4, generator=generator), 'y': torch.randn(rows, 2, generator=generator),
                        'labelled': labelled if i != step % 4 else torch.zeros(rows, dtype=torch.bool)})
    return batches


def lrs_of(step: int) -> list[float]:
    return [1e-2 / (1 + step), 5e-3 / (1 + step)]


def accumulate(strategy, step: int) -> torch.Tensor:
    """This rank's micro-batches of one step; returns the loss of the global batch, per labelled row."""
    batches = global_batch(step)
    rows = sum(int(batch['labelled'].sum()) for batch in batches)
    own = batches[strategy.rank::strategy.world_size]
    total = torch.zeros(())
    for i, batch in enumerate(own):
        loss = strategy.forward(batch)['loss'] / rows
        strategy.backward(loss, last=i == len(own) - 1)
        total += loss.detach()
    return strategy.all_reduce_sum(total) if strategy.world_size > 1 else total


def train(strategy, first: int = 0, steps: int = STEPS) -> dict:
    """Losses, norms and, per step, full gradients; then the final values."""
    losses, norms, grads = [], [], []
    used = [name for name in strategy.full_params() if name != 'unused']
    for step in range(first, first + steps):
        losses.append(accumulate(strategy, step))
        grads.append(strategy.grads(used))
        norms.append(strategy.step(lrs_of(step)).detach().clone())
    return {'losses': torch.stack(losses), 'norms': torch.stack([n.reshape(()) for n in norms]), 'grads': grads,
            'params': strategy.full_params()}


def prepared(strategy, module: nn.Module, *, micro_batches: int = 4, clip: float = CLIP):
    strategy.prepare(module, adamw, groups_of(module), accumulation=micro_batches // strategy.world_size,
                     grad_clip=clip)
    return strategy
