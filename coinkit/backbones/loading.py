"""A model from its weights: strict loading, or random weights, or shapes alone.

A missing, extra or mis-shaped tensor is an error that names it. Every model comes frozen: the method chooses what trains.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coinkit.backbones.arguments import DTYPES
from coinkit.backbones.config_files import UNUSABLE, config_errors, head_problems
from coinkit.backbones.weights import WHERE, LazyTensors, shape_of, tensor_problems
from coinkit.errors import CoinkitError, ConfigError, raise_problems

logger = logging.getLogger(__name__)
logging.getLogger('bitsandbytes').setLevel(logging.ERROR)  # it tells at every import which kernels this CPU lacks
SMALL = 2**30  # bytes: what loads in a moment needs no progress bar


@dataclass(frozen=True)
class Start:
    """How a model comes into being; from a backbone's own arguments."""

    dtype: torch.dtype
    device: torch.device
    attn: str
    init_seed: int | None
    quantization: str | None

    @classmethod
    def of(cls, dtype: str, device: str, attn: str, init_seed: int | None, quantization: str | None) -> Start:
        place = choose_device(device)
        return cls(DTYPES[dtype], place, choose_attention(attn, place, DTYPES[dtype]), init_seed, quantization)

    def model(self, kind: type[nn.Module], config: Any, tensors: Callable[[], LazyTensors], *, folder: Path,
              keep: Sequence[str] = (), key_mapping: Mapping[str, str] | None = None) -> Any:
        """The frozen model: shapes alone on 'meta', random weights where there is a seed, else from `tensors()`.

        Modules named in `keep` are not quantised; `key_mapping` renames tensors, pattern to replacement.
        """
        file = folder / 'config.json'
        raise_problems(head_problems(config, file))
        try:
            model = self._model(kind, config, tensors, folder=folder, keep=keep, key_mapping=key_mapping)
        except UNUSABLE:
            with config_errors(file):  # is it the config? A model of its shapes alone tells
                shapes_only(kind, config, dtype=self.dtype)
            raise
        return model.eval().requires_grad_(False)

    def _model(self, kind: type[nn.Module], config: Any, tensors: Callable[[], LazyTensors], *, folder: Path,
               keep: Sequence[str], key_mapping: Mapping[str, str] | None) -> Any:
        chosen = dict(dtype=self.dtype, attn=self.attn, device=self.device)
        if self.device.type == 'meta':
            return shapes_only(kind, config, dtype=self.dtype, quantization=self.quantization, keep=keep)
        if self.init_seed is not None:
            return random_model(kind, config, seed=self.init_seed, **chosen)
        return load_pretrained(kind, config, tensors(), folder=folder, key_mapping=key_mapping,
                               quantization=self.quantization, keep=keep, **chosen)


def choose_device(device: str) -> torch.device:
    """'auto' is the GPU where there is one."""
    return torch.device(('cuda' if torch.cuda.is_available() else 'cpu') if device == 'auto' else device)


def choose_attention(attn: str, device: torch.device, dtype: torch.dtype) -> str:
    """'auto' is flash_attention_2 where it is installed and works, else SDPA; said once in the log."""
    if attn != 'auto':
        return attn
    fits = device.type == 'cuda' and dtype == torch.bfloat16 and importlib.util.find_spec('flash_attn') is not None
    chosen = 'flash_attention_2' if fits else 'sdpa'
    _say_attention(chosen)
    return chosen


@functools.cache  # once per process, however many models it builds
def _say_attention(chosen: str) -> None:
    logger.info('attention: %s', chosen)


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
