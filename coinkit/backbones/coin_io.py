"""CoIN's MoELoRA adapter folders, in and out.

CoIN's fork of peft names expert i of a linear `<module>.lora_A.loraA.<i>.weight` (and B alike) and its router
`<module>.lora_router.weight`; the state-dict route stores every expert a second time as `loraA.<i>.mlp.weight`. The
rank in the config is the total over experts. What was trained beside them, the projector, lies in
non_lora_trainables.bin. Stock PEFT does not know the type: this is the way to and from the released code.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from coinkit import atomic
from coinkit.backbones.adapter_files import (
    BESIDE,
    COIN,
    CONFIG,
    PREFIX,
    WEIGHTS,
    Names,
    copy_trained,
    read_beside,
    read_config,
    read_weights,
    trained_problems,
)
from coinkit.errors import DataError, Problem, RunError, nearest, raise_problems
from coinkit.nn.bank import AdapterBank, split_rank

EXPERT = re.compile(r'(?P<module>.+)\.lora_(?P<half>[AB])\.lora(?P=half)\.(?P<index>\d+)(\.mlp)?\.weight')
ROUTER = re.compile(r'(?P<module>.+)\.lora_router\.weight')


@dataclass(frozen=True)
class CoinAdapter:
    """A folder in memory: `<module>.<i>.A`, `.B` and `<module>.router` in fp32, and what else was trained, by parameter."""

    folder: Path
    num_experts: int
    rank: int  # of all experts together
    alpha: float
    tensors: Mapping[str, Tensor]
    file: Path
    keys: Mapping[str, str]  # the file's name of each tensor
    trained: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method that takes it, in the form that a config and `--cfg-options` both understand."""
        alpha = int(self.alpha) if self.alpha.is_integer() else self.alpha
        return repr({'type': 'MoELoRA', 'num_experts': self.num_experts, 'rank': self.rank, 'alpha': alpha})

    @property
    def modules(self) -> list[str]:
        return [name.removesuffix('.router') for name in self.tensors if name.endswith('.router')]

    def of(self, module: str, half: str) -> list[tuple[str, Tensor]]:
        """Name and tensor of A or B of each expert."""
        names = [f'{module}.{i}.{half}' for i in range(self.num_experts)]
        return [(name, self.tensors[name]) for name in names]


# ---- in


def read_coin(folder: str | os.PathLike[str], *, rename: Names = str) -> CoinAdapter:
    """Read a folder whose parts agree with each other; `rename` maps its module and parameter names to the model's."""
    source = Path(folder)
    config = read_config(source, COIN)
    experts, rank, alpha = _sizes(source / CONFIG, config)
    file, stored = read_weights(source)
    tensors: dict[str, Tensor] = {}
    keys: dict[str, str] = {}
    for key, tensor in stored.items():
        name = _name(file, key, rename)
        if name in tensors and not torch.equal(tensors[name], tensor):
            raise DataError(f"{file}: '{key}' differs from its other copy, '{keys[name]}'.")
        tensors[name], keys[name] = tensor, key
    _check_whole(file, tensors, keys, experts, rank // experts)
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    return CoinAdapter(source, experts, rank, alpha, tensors, file, keys, read_beside(source, rename))


def load_coin(bank: AdapterBank, adapter: CoinAdapter) -> None:
    """Give the bank's blocks and the model the folder's values; every reason why they do not fit is told.

    A module the bank lacks needs no place where its B are zero: it does nothing.
    """
    raise_problems(coin_problems(bank, adapter))
    state: dict[str, Tensor] = {}
    for module in bank.targets:
        for i, block in enumerate(bank.blocks):
            state |= {f'{module}.{block}.{half}': adapter.tensors[f'{module}.{i}.{half}'] for half in 'AB'}
        state[f'{module}.router'] = adapter.tensors[f'{module}.router']
    bank.load_state_dict(state)
    copy_trained(bank.model, adapter.trained)


def coin_problems(bank: AdapterBank, adapter: CoinAdapter) -> list[Problem]:
    """Why these blocks cannot take this folder's values."""
    if bank.gate != 'softmax':
        return [Problem(f'{adapter.folder / CONFIG}: peft_type', f"'{COIN}' holds routed experts, and this bank is gated by "
                        f"'{bank.gate}'.", f'Use methods=[{adapter.method}].')]
    found = _size_problems(bank, adapter) + _module_problems(bank, adapter)
    return found + trained_problems(bank.model, adapter.trained, str(adapter.folder / BESIDE))


def _size_problems(bank: AdapterBank, adapter: CoinAdapter) -> list[Problem]:
    infos = list(bank.blocks.values())
    scales = {info.scale for info in infos}
    if len({info.rank for info in infos}) != 1 or len(scales) != 1:
        return [Problem(f'{adapter.folder}', "holds experts of one rank and scale; this run's blocks differ in theirs.",
                        f'Use methods=[{adapter.method}].')]
    rank = sum(info.rank for info in infos)
    rows = (('expert_num', 'num_experts', adapter.num_experts, len(infos), ''),
            ('r', 'rank', adapter.rank, rank, ", the experts' ranks together (moe_r='total')"),
            ('lora_alpha', 'alpha', adapter.alpha, scales.pop() * rank, ''))
    return [Problem(f'{adapter.folder / CONFIG}: {key}', f"{there:g} there, {here:g} in this run's method.",
                    f'Set {argument}={there:g}{note}.')
            for key, argument, there, here, note in rows if not math.isclose(there, here, rel_tol=1e-6)]


def _module_problems(bank: AdapterBank, adapter: CoinAdapter) -> list[Problem]:
    """Modules that one of the two lacks, else shapes: in each case the first, and how many there are."""
    inside = [module for module in adapter.modules if module in bank.layers]
    more = [module for module in adapter.modules if module not in bank.layers and _has_effect(adapter, module)]
    known = {name for name, _ in bank.model.named_modules()}
    if foreign := [module for module in more if module not in known]:
        return [Problem(f"{adapter.file}: {adapter.keys[f'{foreign[0]}.router']}", f"adapts '{foreign[0]}', and this "
                        f'backbone has no such module ({len(foreign)} in all).', 'Use the backbone it was made on.')]
    if more:
        return [Problem(f"{adapter.file}: {adapter.keys[f'{more[0]}.router']}", f"adapts '{more[0]}', this run's method "
                        f'does not ({len(more)} in all).', 'Give the method the targets it was made with.')]
    if lacking := [module for module in bank.targets if module not in set(inside)]:
        return [Problem(str(adapter.file), f"does not adapt '{lacking[0]}', this run's method does ({len(lacking)} in all). "
                        f'{nearest(lacking[0], adapter.modules)}'.strip(), 'Give the method the targets it was made with.')]
    wrong = [problem for module in inside for problem in _shape_problems(bank, adapter, module)]
    return [Problem(wrong[0].where, f'{wrong[0].message} ({len(wrong)} in all).', wrong[0].cure)] if wrong else []


def _shape_problems(bank: AdapterBank, adapter: CoinAdapter, module: str) -> list[Problem]:
    layer, rank = bank.layers[module], adapter.rank // adapter.num_experts
    wanted = [(name, tensor, (rank, layer.in_features)) for name, tensor in adapter.of(module, 'A')]
    wanted += [(name, tensor, (layer.out_features, rank)) for name, tensor in adapter.of(module, 'B')]
    return [Problem(f'{adapter.file}: {adapter.keys[name]}', f'shape {tuple(tensor.shape)}, this backbone wants {shape}',
                    'Use the backbone it was made on.') for name, tensor, shape in wanted if tuple(tensor.shape) != shape]


def _has_effect(adapter: CoinAdapter, module: str) -> bool:
    return any(bool(tensor.any()) for _, tensor in adapter.of(module, 'B'))


def _sizes(path: Path, config: Mapping[str, Any]) -> tuple[int, int, float]:
    """Experts, total rank and alpha."""
    problems, count, number = [], 'a whole number of 1 or more', 'a positive number'
    for key, kinds, allowed in (('expert_num', int, count), ('r', int, count), ('lora_alpha', (int, float), number)):
        given = config.get(key)
        if isinstance(given, bool) or not isinstance(given, kinds) or not 0 < given < math.inf:
            problems.append(Problem(f'{path}: {key}', f"{'missing' if key not in config else repr(given)}, "
                                    f'expected {allowed}.'))
    raise_problems(problems)
    split_rank(config['r'], config['expert_num'], where=f'{path}: r')
    return config['expert_num'], config['r'], float(config['lora_alpha'])


def _name(file: Path, key: str, rename: Names) -> str:
    name = key.removeprefix(PREFIX)
    if found := EXPERT.fullmatch(name):
        return f"{rename(found['module'])}.{int(found['index'])}.{found['half']}"
    if found := ROUTER.fullmatch(name):
        return f"{rename(found['module'])}.router"
    raise DataError(str(Problem(f'{file}: {key}', 'not a tensor of a CoIN MoELoRA adapter.')))


def _check_whole(file: Path, tensors: Mapping[str, Tensor], keys: Mapping[str, str], experts: int, rank: int) -> None:
    """Every module has its router and as many experts of such a rank as the config says."""
    modules = dict.fromkeys(re.sub(r'\.(router|\d+\.[AB])$', '', name) for name in tensors)
    if not modules:
        raise DataError(f'{file}: no tensors.')
    if without := [module for module in modules if f'{module}.router' not in tensors]:
        raise DataError(f'{file}: no router for {without[0]} ({len(without)} modules without).')
    wanted = {f'{module}.router' for module in modules}
    wanted |= {f'{module}.{i}.{half}' for module in modules for i in range(experts) for half in 'AB'}
    if odd := sorted(wanted ^ tensors.keys()):
        what = f"'{keys[odd[0]]}' is one expert too many" if odd[0] in tensors else f"'{odd[0]}' is missing"
        raise DataError(f'{file}: {what}; {CONFIG} says expert_num = {experts} ({len(odd)} tensors in all).')
    for name, tensor in tensors.items():
        size, said = (experts, 'expert_num') if name.endswith('.router') else (rank, 'r / expert_num')
        axis = 1 if name.endswith('.B') else 0
        if tensor.dim() != 2 or tensor.shape[axis] != size:
            raise DataError(f"{file}: '{keys[name]}' has shape {tuple(tensor.shape)}; {CONFIG} says {said} = {size}.")


# ---- out


def export_coin(card: Mapping[str, Any], state: Mapping[str, Tensor], folder: str | os.PathLike[str], *,
                trained: Mapping[str, Tensor] | None = None, base_model: str = '', rename: Names = str) -> list[Path]:
    """Write a bank, given by its card and state, under the released code's names; `rename` maps names to its own.

    `trained` are other tensors by parameter name. The released loader wants their file also when there are none.
    """
    rank, scale = _one_rank_and_scale(card)
    names = [block['name'] for block in card['blocks']]
    active = [i for i, block in enumerate(card['blocks']) if block['active']]
    tensors: dict[str, Tensor] = {}
    for module in card['targets']:
        stem = f'{PREFIX}{rename(module)}'
        for i, row in enumerate(active):
            for half in 'AB':
                tensors[f'{stem}.lora_{half}.lora{half}.{i}.weight'] = state[f'{module}.{names[row]}.{half}'].clone()
        tensors[f'{stem}.lora_router.weight'] = state[f'{module}.router'][active]
    target, total = Path(folder), rank * len(active)
    with atomic.file(target / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={'format': 'pt'})
    with atomic.file(target / BESIDE) as temporary:
        torch.save({f'{PREFIX}{rename(name)}': tensor.clone() for name, tensor in (trained or {}).items()}, temporary)
    atomic.write_json(target / CONFIG, _config(card, base_model, r=total, alpha=scale * total, experts=len(active)))
    return [target / CONFIG, target / WEIGHTS, target / BESIDE]


def _one_rank_and_scale(card: Mapping[str, Any]) -> tuple[int, float]:
    active = [block for block in card['blocks'] if block['active']]
    ranks, scales = {block['rank'] for block in active}, {block['scale'] for block in active}
    if card['gate'] != 'softmax' or len(ranks) != 1 or len(scales) != 1:
        raise RunError(f"CoIN's files hold routed experts of one rank and scale; this bank has gate '{card['gate']}', ranks "
                       f'{sorted(ranks)}, scales {sorted(scales)}.')
    return ranks.pop(), scales.pop()


def _config(card: Mapping[str, Any], base_model: str, *, r: int, alpha: float, experts: int) -> dict[str, Any]:
    alpha = round(alpha, 9)  # alpha / r * r need not be alpha in the last bit
    return {'peft_type': COIN, 'task_type': 'CAUSAL_LM_CoIN', 'base_model_name_or_path': base_model or None, 'r': r,
            'lora_alpha': int(alpha) if alpha.is_integer() else alpha, 'lora_dropout': card['dropout'], 'bias': 'none',
            'expert_num': experts, 'task_embedding_dim': 64, 'fan_in_fan_out': False, 'modules_to_save': None,
            # name endings: what else they match in the released code gets experts with B = 0, which do nothing
            'target_modules': sorted({module.rpartition('.')[2] for module in card['targets']}), 'inference_mode': True}
