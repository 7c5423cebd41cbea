"""Nested values with tensors in them as one JSON file and one safetensors file: no pickle anywhere.

Methods return any nesting of dicts, lists, tensors, numbers, strings and None from `coinkit_state_dict`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

MARK = '__tensor__'


def split(value: Any, tensors: dict[str, torch.Tensor], path: str = '') -> Any:
    """JSON form of `value`; every tensor moves to `tensors` under its path."""
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().to('cpu').contiguous()
        return {MARK: path}
    if isinstance(value, Mapping):
        assert all(isinstance(key, str) for key in value), f'{path}: only string keys can be stored'
        return {key: split(item, tensors, f'{path}/{key}' if path else key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [split(item, tensors, f'{path}/{i}') for i, item in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f'state at {path!r} is a {type(value).__name__}: store tensors, numbers, strings, lists and dicts')


def join(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The inverse of `split` (tuples come back as lists)."""
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return tensors[value[MARK]]
        return {key: join(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [join(item, tensors) for item in value]
    return value


def save(folder: Path, name: str, value: Any) -> None:
    """Write `name.json` and, where there are tensors, `name.safetensors` into an existing folder."""
    tensors: dict[str, torch.Tensor] = {}
    (folder / f'{name}.json').write_text(json.dumps(split(value, tensors), indent=1) + '\n')
    if tensors:
        save_tensors(folder / f'{name}.safetensors', tensors)


def load(folder: Path, name: str) -> Any:
    path = folder / f'{name}.safetensors'
    tensors = load_file(path) if path.exists() else {}
    return join(json.loads((folder / f'{name}.json').read_text()), tensors)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Safetensors without metadata: its key order would not be the same in every process. Aliases are written out."""
    save_file({key: tensor.detach().to('cpu').contiguous().clone() for key, tensor in tensors.items()}, path)
