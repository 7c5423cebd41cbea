"""Adapter folders as PEFT, its forks and LLaVA's trainers leave them: a JSON config, named tensors, and a file beside them.

`peft_type` in the config says who reads the folder: `peft_io` a LoRA, `coin_io` CoIN's MoELoRA. LLaVA's trainers, CoIN's
among them, keep what was trained outside the adapter (the projector) in `non_lora_trainables.bin`. Nothing here runs code
from a file: pickled tensors are read weights-only.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from coinkit.backbones.weights import UNREADABLE, NotTensors
from coinkit.errors import ConfigError, DataError, Problem, nearest

PREFIX = 'base_model.model.'
CONFIG, WEIGHTS, OLD_WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors', 'adapter_model.bin'
BESIDE = 'non_lora_trainables.bin'
LORA, COIN = 'LORA', 'MOE_LORA_CoIN'
REFUSED = ('rank_pattern', 'alpha_pattern', 'use_dora', 'lora_bias', 'fan_in_fan_out', 'layer_replication',
           'target_parameters', 'trainable_token_indices', 'alora_invocation_tokens', 'use_qalora', 'use_bdlora',
           'arrow_config', 'megatron_config')
Names = Callable[[str], str]


def adapter_type(folder: Path) -> str:
    """LORA or COIN, by the folder's config; what cannot be read, or is of another type, is refused."""
    given = _config(folder / CONFIG).get('peft_type')
    if given not in (LORA, COIN):
        raise DataError(str(Problem(f'{folder / CONFIG}: peft_type', f"{given!r} is not supported, allowed: '{LORA}', "
                                    f"'{COIN}'.", nearest(str(given), (LORA, COIN)))))
    _weights_file(folder)
    return given


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """The config of a folder of this `peft_type`; what no bank can represent is refused by name."""
    path = folder / CONFIG
    config = _config(path)
    if config.get('peft_type') != kind:
        raise DataError(f"{path}: peft_type {config.get('peft_type')!r} is not '{kind}'.")
    why = ': a block has one rank and one scale on all modules'
    problems = [Problem(f'{path}: {key}', f"{config[key]!r} is not supported{why if key.endswith('_pattern') else ''}.")
                for key in REFUSED if config.get(key)]
    if config.get('bias', 'none') != 'none':
        problems.append(Problem(f'{path}: bias', f"{config['bias']!r} is not supported, only 'none'."))
    if problems:
        raise ConfigError(problems)
    return config


def read_weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """The adapter's file and its tensors, under the file's names."""
    file = _weights_file(folder)
    return file, _tensors(file)


def read_beside(folder: Path, rename: Names = str) -> dict[str, Tensor]:
    """What was trained outside the adapter, by the model's parameter names; nothing where there is no such file."""
    file = folder / BESIDE
    return {rename(key.removeprefix(PREFIX)): tensor for key, tensor in _tensors(file).items()} if file.is_file() else {}


def trained_problems(model: nn.Module, trained: Mapping[str, Tensor], where: str) -> list[Problem]:
    """Of tensors trained outside the adapter, those that the model does not have in this shape."""
    own, problems = model.state_dict(keep_vars=True), []
    for name, tensor in trained.items():
        if name not in own:
            problems.append(Problem(where, f"holds '{name}', unknown to the model.", nearest(name, list(own))))
        elif own[name].shape != tensor.shape:
            problems.append(Problem(where, f"'{name}' has shape {tuple(tensor.shape)} instead of "
                                    f'{tuple(own[name].shape)}.', 'Use the backbone it was made on.'))
    return problems


def copy_trained(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Put them into the model, at no less than their own precision: a frozen base may be kept in bfloat16."""
    own = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, tensor in trained.items():
            target = own[name]
            target.data = target.data.to(torch.promote_types(target.dtype, tensor.dtype))
            target.copy_(tensor)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}); an adapter folder holds {CONFIG} and '
                        f'{WEIGHTS}.') from error
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}).') from error
    if not isinstance(config, dict):
        raise DataError(f'{path}: holds a {type(config).__name__}, expected an object.')
    return config


def _weights_file(folder: Path) -> Path:
    for name in (WEIGHTS, OLD_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise DataError(f'{folder}: holds neither {WEIGHTS} nor {OLD_WEIGHTS}.')


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == '.safetensors':
            return load_file(file)
        content = torch.load(file, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(file))
    except NotTensors as error:
        raise DataError(f'{file}: cannot be read: it is cut short, or holds objects of other kinds than tensors, which '
                        'are not loaded (a pickle can run code).') from error
    except (*UNREADABLE, SafetensorError) as error:
        raise DataError(f'{file}: cannot be read: {error} Was the copy cut short?') from error
    if not isinstance(content, Mapping) or not all(isinstance(one, Tensor) for one in content.values()):
        raise DataError(f'{file}: holds something else than tensors by name.')
    return dict(content)
