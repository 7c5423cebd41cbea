"""Find the linears to adapt by PEFT's own matching rules, and wrap them with an adapter bank.

`targets` means what `target_modules` means in a LoraConfig: a list of name endings, a regular expression over whole
names, or 'all-linear'; `exclude` is its `exclude_modules`. Only the matching is PEFT's: the layers are ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from coinkit.errors import ConfigError, Problem
from coinkit.nn.bank import AdapterBank


def inject(model: nn.Module, targets: str | Sequence[str], *, exclude: str | Sequence[str] | None = None,
           gate: Literal['none', 'softmax'] = 'none', dropout: float = 0.0,
           dropout_mode: Literal['shared', 'per_expert'] = 'shared', dtype: torch.dtype = torch.float32) -> AdapterBank:
    """An empty bank over the matching linears of `model`; its blocks are added by the method."""
    names = find_targets(model, targets, exclude)
    return AdapterBank(model, names, gate=gate, dropout=dropout, dropout_mode=dropout_mode, dtype=dtype)


def find_targets(model: nn.Module, targets: str | Sequence[str],
                 exclude: str | Sequence[str] | None = None) -> list[str]:
    """Names of the matching linears in the model's order; none, or something that is no linear, is an error."""
    from peft import LoraConfig  # slow to import
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists

    config = LoraConfig(target_modules=targets if isinstance(targets, str) else list(targets),
                        exclude_modules=exclude if exclude is None or isinstance(exclude, str) else list(exclude))
    config = _maybe_include_all_linear_layers(config, model)
    modules = dict(model.named_modules())
    found = [name for name in modules if name and check_target_module_exists(config, name)]
    if not found:
        raise ConfigError(_nothing(targets, exclude, modules))
    wrong = [name for name in found if not _is_linear(modules[name])]
    if wrong:
        raise ConfigError([Problem('targets', f"{targets!r} matches '{name}', a {type(modules[name]).__name__} and not "
                                   'a linear layer.') for name in wrong[:5]])
    return found


def _is_linear(module: nn.Module) -> bool:
    """Quantised linears are not always nn.Linear, but they know their sizes."""
    return hasattr(module, 'in_features') and hasattr(module, 'out_features')


def _nothing(targets: str | Sequence[str], exclude: str | Sequence[str] | None,
             modules: dict[str, nn.Module]) -> Problem:
    linears = [name for name, module in modules.items() if _is_linear(module)]
    endings = sorted({name.rsplit('.', 1)[-1] for name in linears})
    given = [targets] if isinstance(targets, str) else list(targets)
    near = {match for target in given for pool in (endings, linears)
            for match in difflib.get_close_matches(target, pool, n=3, cutoff=0.5)}
    hint = f"Nearest: {', '.join(sorted(near))}." if near else f"Linear layers end in: {', '.join(endings)}."
    but = '' if exclude is None else f' that {exclude!r} does not exclude'
    return Problem('targets', f'{targets!r} matches no module of the model{but}.', hint)
