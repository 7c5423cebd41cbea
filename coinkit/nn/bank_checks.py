"""What the adapter bank refuses, each with its cure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from coinkit.errors import ConfigError, Problem, RunError, nearest, unknown
from coinkit.nn.bank_linear import BankLinear

GATES = ('none', 'softmax')
DROPOUT_MODES = ('shared', 'per_expert')
INITS = ('kaiming', 'normal')


def split_rank(total: int, parts: int, *, where: str = 'rank') -> int:
    """Rank of each of `parts` blocks that share `total`."""
    if parts < 1 or total % parts:
        fits = [n for n in range(1, total + 1) if total % n == 0]
        raise ConfigError(Problem(where, f'rank {total} cannot be split over {parts} blocks.', f'Use one of {fits}.'))
    return total // parts


def check_options(gate: str, dropout: float, dropout_mode: str) -> None:
    problems = [unknown(where, 'value', given, allowed) for where, given, allowed in
                (('gate', gate, GATES), ('dropout_mode', dropout_mode, DROPOUT_MODES)) if given not in allowed]
    if not 0 <= dropout < 1:
        problems.append(Problem('dropout', f'{dropout} is outside 0 <= dropout < 1.'))
    if problems:
        raise ConfigError(problems)


def check_block(names: Sequence[str], present: Mapping[str, Any], *, rank: int, init: str) -> None:
    problems = []
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        problems.append(Problem('rank', f'{rank!r} is not a whole number >= 1.'))
    if init not in INITS:
        problems.append(unknown('init', 'value', init, INITS))
    for name in names:
        if not name or '.' in name or name == 'router':
            problems.append(Problem('block', f"'{name}' cannot name a block: no dots, not empty, not 'router'."))
        if name in present or names.count(name) > 1:
            problems.append(Problem('block', f"the bank already has a block '{name}'."))
    if problems:
        raise ConfigError(problems)


def find_linears(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Module]:
    """The linears to wrap, by name; every wrong name is reported."""
    modules = dict(model.named_modules())
    problems = [] if targets else [Problem('targets', 'no module to adapt was given.')]
    for name in targets:
        kind = type(modules[name]).__name__ if name in modules else None
        if kind is None:
            problems.append(Problem('targets', f"the model has no module '{name}'.", nearest(name, list(modules))))
        elif isinstance(modules[name], BankLinear):
            problems.append(Problem('targets', f"'{name}' already belongs to an adapter bank."))
        elif not hasattr(modules[name], 'in_features') or not hasattr(modules[name], 'out_features'):
            problems.append(Problem('targets', f"'{name}' is a {kind}, not a linear layer."))
    if problems:
        raise ConfigError(problems[:10])
    return {name: modules[name] for name in targets}


def check_mergeable(name: str, layer: BankLinear) -> None:
    weight = getattr(layer.base, 'weight', None)
    shape = (layer.out_features, layer.in_features)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or tuple(weight.shape) != shape \
            or weight.dtype.itemsize < 2:
        raise RunError(f"cannot merge into '{name}': its base ({type(layer.base).__name__}) has no plain weight of "
                       f'shape {shape} (quantised or partitioned). Load the base unquantised, or keep the block.')
