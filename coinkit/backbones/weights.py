"""Weight files as one lazy mapping from tensor name to tensor, and strict loading of a model from it.

safetensors are memory-mapped and read tensor by tensor, `.bin` and `.pth` through torch's mapped, weights-only reader:
a tensor goes from its file straight to the target type and device. A missing, extra or mis-shaped tensor is an error
that names it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coinkit.errors import CoinkitError, ConfigError, Problem

logging.getLogger('bitsandbytes').setLevel(logging.ERROR)  # it tells at every import which kernels this CPU lacks
SMALL = 2**30  # bytes: what loads in a moment needs no progress bar
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


def quantization_problems(quantization: str | None) -> list[Problem]:
    if quantization is None or importlib.util.find_spec('bitsandbytes') is not None:
        return []
    return [Problem('backbone.quantization', f"'{quantization}' needs bitsandbytes, which is not installed.",
                    "Install it with: pip install 'coinkit[quant]'.")]


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


def load_pretrained(cls: type[nn.Module], config: Any, tensors: LazyTensors, *, folder: Path, dtype: torch.dtype,
                    attn: str, device: torch.device, key_mapping: Mapping[str, str] | None = None,
                    quantization: str | None = None, keep: Sequence[str] = ()) -> Any:
    """`cls` (a PreTrainedModel) with every tensor from `tensors`; ConfigError names those that do not fit.

    `quantization` '4bit' or '8bit' quantises the linears outside the modules named in `keep`.
    """
    from transformers.utils import logging as transformers_logging

    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()  # its load report becomes our error
    if sum(_num_bytes(one) for one in tensors.values()) < SMALL:
        transformers_logging.disable_progress_bar()
    try:
        model, info = cls.from_pretrained(
            None, config=config, state_dict=dict(tensors), dtype=dtype, attn_implementation=attn,
            key_mapping=dict(key_mapping or {}) or None, quantization_config=_quantization(quantization, dtype, keep),
            device_map={'': device} if device.type == 'cuda' or quantization else None,
            output_loading_info=True, ignore_mismatched_sizes=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise CoinkitError(f"{WHERE}: '{folder}' cannot be read: {error}") from error
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
    if problems := tensor_problems(folder, info['missing_keys'], info['unexpected_keys'], info['mismatched_keys']):
        raise ConfigError(problems)
    if quantization:
        _tame_bitsandbytes(model)
    return model


def _tame_bitsandbytes(model: nn.Module) -> None:
    """Switch off what would harm a run: packing that passes no gradient on, and a warning per layer and step."""
    logging.getLogger('bitsandbytes.autograd._functions').setLevel(logging.ERROR)  # 8 bit casts its inputs: known
    for module in model.modules():
        if hasattr(module, 'support_avx512bf16_for_cpu'):
            module.support_avx512bf16_for_cpu = False  # repacks the weights at the first evaluation, for good


def _num_bytes(tensor: Any) -> int:
    size = 4 if isinstance(tensor, Tensor) and tensor.dtype == torch.float32 else 2
    for edge in shape_of(tensor):
        size *= edge
    return size


def _quantization(kind: str | None, dtype: torch.dtype, keep: Sequence[str]) -> Any:
    if kind is None:
        return None
    from transformers import BitsAndBytesConfig

    skip = list(keep) or None
    if kind == '8bit':
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_compute_dtype=dtype,
                              llm_int8_skip_modules=skip)


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


def random_model(cls: type[nn.Module], config: Any, *, dtype: torch.dtype, attn: str, device: torch.device,
                 seed: int) -> Any:
    """Random weights of this shape, for speed and memory trials; leaves the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls._from_config(config, dtype=dtype, attn_implementation=attn)
    return model.to(device).eval()


def shapes_only(cls: type[nn.Module], config: Any, *, dtype: torch.dtype, quantization: str | None = None,
                keep: Sequence[str] = ()) -> Any:
    """The model on the meta device, without reading a weight: for plans. Quantised weights have their size in bytes."""
    with torch.device('meta'):
        model = cls(config).to(dtype)
    for name, module in model.named_modules() if quantization else ():
        if isinstance(module, nn.Linear) and not any(f'{name}.'.startswith(f'{one}.') for one in keep):
            count = module.weight.numel()
            # 4 bit: half a byte each, and one float32 scale per 64
            num_bytes = count if quantization == '8bit' else count // 2 + count // 16
            module.weight = nn.Parameter(torch.empty(num_bytes, dtype=torch.int8, device='meta'), requires_grad=False)
    return model
