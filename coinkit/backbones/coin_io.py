"""CoIN's MoELoRA adapter folders, in and out.

CoIN's fork of peft names expert i of a linear `<module>.lora_A.loraA.<i>.weight` (and B alike) and its router
`<module>.lora_router.weight`; the state-dict route stores every expert a second time as `loraA.<i>.mlp.weight`. The
rank in the config is the total over experts. Stock PEFT does not know the type: this is the way to and from the
released code.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from coinkit import atomic
from coinkit.errors import DataError, Problem, RunError
from coinkit.nn.bank import AdapterBank, split_rank

PREFIX, PEFT_TYPE = 'base_model.model.', 'MOE_LORA_CoIN'
CONFIG, WEIGHTS, OLD_WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors', 'adapter_model.bin'
EXPERT = re.compile(r'(?P<module>.+)\.lora_(?P<half>[AB])\.lora[AB]\.(?P<index>\d+)(\.mlp)?\.weight')
ROUTER = re.compile(r'(?P<module>.+)\.lora_router\.weight')
Names = Callable[[str], str]


def import_coin(model: nn.Module, folder: str | os.PathLike[str], *, rename: Names = str,
                trainable: bool = True) -> AdapterBank:
    """Wrap the modules the folder adapts with a routed bank and take its values; `rename` maps module names."""
    source = Path(folder)
    config = _read_config(source / CONFIG)
    experts = [f'expert-{i}' for i in range(config['expert_num'])]
    rank = split_rank(config['r'], len(experts), where=f'{source / CONFIG}: r')
    state = _state(source, rename)
    modules = {name.rpartition('.')[0] for name in state if name.endswith('.router')}
    known = [name for name, _ in model.named_modules() if name in modules]
    bank = AdapterBank(model, [*known, *sorted(modules - set(known))], gate='softmax', dropout_mode='per_expert',
                       dropout=config.get('lora_dropout') or 0.0)
    bank.add(experts, rank=rank, scale=config['lora_alpha'] / config['r'], init='normal', trainable=trainable,
             generator=torch.Generator())
    bank.load_state_dict(state)
    return bank


def export_coin(bank: AdapterBank, folder: str | os.PathLike[str], *, rename: Names = str) -> list[Path]:
    """Write the active experts under the released code's names; `rename` maps module names to its own."""
    names = list(bank.active)
    ranks, scales = {bank.blocks[name].rank for name in names}, {bank.blocks[name].scale for name in names}
    if bank.gate != 'softmax' or len(ranks) != 1 or len(scales) != 1:
        raise RunError('CoIN knows only routed experts of one rank and scale; this bank has '
                       f"gate '{bank.gate}', ranks {sorted(ranks)}, scales {sorted(scales)}.")
    rank, tensors = ranks.pop() * len(names), {}
    state = bank.state_dict(names)
    for module in bank.targets:
        stem = f'{PREFIX}{rename(module)}'
        for i, name in enumerate(names):
            for half in 'AB':
                tensors[f'{stem}.lora_{half}.lora{half}.{i}.weight'] = state[f'{module}.{name}.{half}'].clone()
        tensors[f'{stem}.lora_router.weight'] = state[f'{module}.router'].clone()
    config = {'peft_type': PEFT_TYPE, 'task_type': 'CAUSAL_LM', 'r': rank, 'lora_alpha': scales.pop() * rank,
              'lora_dropout': bank.dropout, 'bias': 'none', 'expert_num': len(names), 'task_embedding_dim': 64,
              'target_modules': sorted({module.rpartition('.')[2] for module in bank.targets}), 'inference_mode': True}
    target = Path(folder)
    atomic.write_json(target / CONFIG, config)
    save_file(tensors, target / WEIGHTS, metadata={'format': 'pt'})
    return [target / CONFIG, target / WEIGHTS]


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from error
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}).') from error
    if config.get('peft_type') != PEFT_TYPE:
        raise DataError(f"{path}: peft_type {config.get('peft_type')!r} is not '{PEFT_TYPE}'.")
    missing = [key for key in ('r', 'lora_alpha', 'expert_num') if key not in config]
    if missing:
        raise DataError(f"{path}: without {', '.join(missing)}.")
    return config


def _state(folder: Path, rename: Names) -> dict[str, Tensor]:
    """The folder's tensors under the bank's names; the second copy of an expert must equal the first."""
    state: dict[str, Tensor] = {}
    for key, tensor in _read_weights(folder).items():
        name = _bank_name(folder, key, rename)
        if name in state and not torch.equal(state[name], tensor):
            raise DataError(f"{folder}: '{key}' differs from its other copy.")
        state[name] = tensor.float()
    _check_complete(folder, state)
    return state


def _bank_name(folder: Path, key: str, rename: Names) -> str:
    name = key.removeprefix(PREFIX)
    if found := EXPERT.fullmatch(name):
        return f"{rename(found['module'])}.expert-{found['index']}.{found['half']}"
    if found := ROUTER.fullmatch(name):
        return f"{rename(found['module'])}.router"
    raise DataError(str(Problem(f'{folder}: {key}', 'not a tensor of a CoIN MoELoRA adapter.')))


def _check_complete(folder: Path, state: Iterable[str]) -> None:
    modules = {re.sub(r'\.(router|expert-\d+\.[AB])$', '', name) for name in state}
    without = sorted(module for module in modules if f'{module}.router' not in set(state))
    if not modules or without:
        raise DataError(f"{folder}: {f'no router for {without[0]}' if without else 'no tensors'}.")


def _read_weights(folder: Path) -> Mapping[str, Tensor]:
    if (folder / WEIGHTS).is_file():
        return load_file(folder / WEIGHTS)
    if (folder / OLD_WEIGHTS).is_file():
        return torch.load(folder / OLD_WEIGHTS, map_location='cpu', weights_only=True)
    raise DataError(f'{folder}: holds neither {WEIGHTS} nor {OLD_WEIGHTS}.')
