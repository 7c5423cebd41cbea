"""An adapter on disk: `adapter.safetensors` and `card.json` in one folder, schema coinkit.adapter/1.

Bank tensors are prefixed `bank.`, other trained tensors `model.`. The tensors are written before the card, each file
atomically, and the card holds their hash: a folder whose card fits is complete. Equal contents give equal bytes
(safetensors sorts its tensors; no metadata is written).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from coinkit import atomic
from coinkit.errors import DataError

SCHEMA = 'coinkit.adapter/1'
TENSORS, CARD = 'adapter.safetensors', 'card.json'
BANK, MODEL = 'bank.', 'model.'


def save_adapter(folder: str | os.PathLike[str], tensors: Mapping[str, Tensor],
                 card: Mapping[str, Any]) -> dict[str, Any]:
    """Write the folder, replacing an older one; returns the card as written (with `schema` and `sha256`)."""
    target = Path(folder)
    with atomic.file(target / TENSORS) as temporary:  # tensor by tensor: a whole 7B model is not held twice
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    written = {'schema': SCHEMA, **card, 'sha256': atomic.sha256_file(target / TENSORS)}
    atomic.write_text(target / CARD, json.dumps(written, indent=1, ensure_ascii=False) + '\n')
    return written


def load_adapter(folder: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and card; a missing, foreign or damaged file is a DataError naming it."""
    card = read_card(folder)
    path = Path(folder) / TENSORS
    try:
        digest = atomic.sha256_file(path)
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from error
    if digest != card.get('sha256'):
        raise DataError(f'{path}: the content does not match {CARD} (damaged, or the two were mixed up).')
    try:
        return load_file(path), card
    except SafetensorError as error:
        raise DataError(f'{path}: not a safetensors file ({error}).') from error


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The card alone: what the folder holds, without its tensors."""
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}). It is written last: the folder may be '
                        'unfinished.') from error
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}).') from error
    if not isinstance(card, dict) or card.get('schema') != SCHEMA:
        given = card.get('schema') if isinstance(card, dict) else type(card).__name__
        raise DataError(f'{path}: schema {given!r} is not {SCHEMA!r}.')
    return card


def join_tensors(bank: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bank state and other trained tensors under their prefixes."""
    return {**{BANK + name: tensor for name, tensor in bank.items()},
            **{MODEL + name: tensor for name, tensor in model.items()}}


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of `join_tensors`."""
    foreign = [name for name in tensors if not name.startswith((BANK, MODEL))]
    if foreign:
        raise DataError(f"{TENSORS}: '{foreign[0]}' begins with neither '{BANK}' nor '{MODEL}'.")
    return tuple({name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
                 for prefix in (BANK, MODEL))
