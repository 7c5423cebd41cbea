"""Weight files as one lazy mapping from tensor name to tensor.

safetensors are memory-mapped and read tensor by tensor, `.bin` and `.pth` through torch's mapped, weights-only reader:
a tensor goes from its file straight to the target type and device. A missing, extra or mis-shaped tensor is an error
that names it.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coinkit.errors import CoinkitError, ConfigError, Problem

WHERE = 'backbone.checkpoint'
PICKLED = ('.bin', '.pth', '.pt')
STANDARD = (('model', 'safetensors'), ('pytorch_model', 'bin'))
# what trainers leave beside the weights, and a part that LLaVA's folders hold a second time
NOT_WEIGHTS = ('training_args', 'optimizer', 'scheduler', 'rng_state', 'mm_projector')
NotTensors = torch.serialization.pickle.UnpicklingError  # what its weights-only reader raises
UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, struct.error, LookupError)  # of a file cut anywhere
LazyTensors = dict[str, Any]  # name -> Tensor or a safetensors slice that is read when it is needed


def read_json(file: Path) -> dict[str, Any]:
    """The object in `file`, {} when there is no such file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigError(Problem(str(file), f'is not JSON ({error}).', 'Was the copy cut short?')) from error
    if not isinstance(content, dict):
        raise ConfigError(Problem(str(file), f'holds a {type(content).__name__}, expected an object.'))
    return content


def weight_names(folder: Path) -> list[str]:
    """Names of the files that hold the weights, whether they are there or not; [] when the folder has none.

    The standard names, their indexes and numbered shards come first, then weights.safetensors; a folder without them
    gives every safetensors file it has, or else every pickled one.
    """
    for stem, kind in STANDARD:
        if (folder / f'{stem}.{kind}').is_file():
            return [f'{stem}.{kind}']
        if shards := _index(folder, stem, kind):
            return sorted(set(shards.values()))
        if numbered := _numbered(folder, stem, kind):
            return numbered
    if (folder / 'weights.safetensors').is_file():
        return ['weights.safetensors']
    others = [sorted(file.name for file in folder.glob(f'*{kind}') if not file.name.startswith(NOT_WEIGHTS))
              for kind in ('.safetensors', *PICKLED)]
    return next((names for names in others if names), [])


def _index(folder: Path, stem: str, kind: str) -> dict[str, str]:
    """Tensor name -> file, from the index of a sharded checkpoint."""
    return read_json(folder / f'{stem}.{kind}.index.json').get('weight_map', {})


def _numbered(folder: Path, stem: str, kind: str) -> list[str]:
    """All shards of a checkpoint without index: each one's name says how many there are."""
    for file in sorted(folder.glob(f'{stem}-*-of-*.{kind}')):
        count = file.stem.rsplit('-', 1)[-1]
        if count.isdigit():
            return [f'{stem}-{number:0{len(count)}}-of-{count}.{kind}' for number in range(1, int(count) + 1)]
    return []


def tensor_names(folder: Path) -> set[str]:
    """Names of the tensors in the folder, from its index or else from the files' headers."""
    for stem, kind in STANDARD:
        if not (folder / f'{stem}.{kind}').is_file() and (shards := _index(folder, stem, kind)):
            return set(shards)
    return set(open_folder(folder))


def weight_problems(folder: Path, cure: str, *, where: str = WHERE) -> list[Problem]:
    """What of the folder's weight files is missing; reads no weight."""
    names = weight_names(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return [Problem(where, f"'{folder}' lacks {', '.join(missing)}, named by its index.", cure)]
    if names:
        return []
    return [Problem(where, f"'{folder}' has no weights (model.safetensors, its index, or pytorch_model.bin).", cure)]


def open_folder(folder: Path) -> LazyTensors:
    """Every tensor of a checkpoint folder, unread."""
    return open_files(folder / name for name in weight_names(folder))


def open_files(files: Iterable[Path]) -> LazyTensors:
    """Every tensor of these files, unread; one name in two files is an error."""
    found: LazyTensors = {}
    for file in files:
        tensors = _open_file(Path(file))
        if twice := sorted(found.keys() & tensors.keys()):
            raise ConfigError(Problem(str(file), f'{listed(twice)} stand in another file of the folder as well.'))
        found |= tensors
    return found


def _open_file(file: Path) -> LazyTensors:
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == '.safetensors':
            opened = safe_open(file, framework='pt')
            return {name: opened.get_slice(name) for name in opened.keys()}
        content = torch.load(file, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(file))
    except NotTensors as error:
        raise CoinkitError(f"{WHERE}: '{file}' cannot be read: it is cut short, or holds objects of other kinds than "
                           'tensors, which are not loaded (a pickle can run code).') from error
    except (*UNREADABLE, SafetensorError) as error:
        raise CoinkitError(f"{WHERE}: '{file}' cannot be read: {error} Was the copy cut short?") from error
    if not isinstance(content, Mapping):
        raise CoinkitError(f"{WHERE}: '{file}' holds a {type(content).__name__}, expected tensors by name.")
    # training checkpoints keep the weights beside the optimizer
    content = content['model'] if isinstance(content.get('model'), Mapping) else content
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def shape_of(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.get_shape() if hasattr(tensor, 'get_shape') else tensor.shape)


def read(tensor: Any) -> Tensor:
    """The content of one lazy tensor."""
    return tensor if isinstance(tensor, Tensor) else tensor[...]


class FirstRows:
    """The first rows of a lazy tensor, as lazy as it."""

    def __init__(self, tensor: Any, rows: int):
        self.tensor, self.rows = tensor, rows

    def get_shape(self) -> list[int]:
        return [self.rows, *shape_of(self.tensor)[1:]]

    def __getitem__(self, key: Any) -> Tensor:
        return self.tensor[:self.rows][key]


def renamed(tensors: Mapping[str, Any], rename: Callable[[str], str | None]) -> LazyTensors:
    """The same tensors under other names; None leaves one out."""
    return {new: value for name, value in tensors.items() if (new := rename(name)) is not None}


def tensor_problems(folder: Path, missing: Iterable[str], extra: Iterable[str],
                    mismatched: Iterable[tuple[str, Any, Any]]) -> list[Problem]:
    """One problem per kind, with the names of the tensors."""
    shapes = [f'{name} is {list(given)}, expected {list(wanted)}' for name, given, wanted in mismatched]
    found = {'missing tensors': missing, 'tensors the model does not have': extra, 'tensors of another shape': shapes}
    cure = 'Is this the folder of another model, or was its copy cut short?'
    return [Problem(WHERE, f"'{folder}': {what}: {listed(sorted(names))}.", cure)
            for what, names in found.items() if names]


def listed(names: Sequence[str], most: int = 8) -> str:
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')
