"""A LLaVA checkpoint folder: what must be in it, how it is read, how much memory it will take.

Checks read a few small files and no weights. Loading is transformers' own (lazy, sharded, memory-mapped, straight to
the dtype) with one change: a missing, extra or mis-shaped tensor is an error that names it, not a line in a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coinkit.errors import CoinkitError, ConfigError, Problem

if TYPE_CHECKING:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

SMALL = 2**30  # bytes: what loads in a moment needs no progress bar
WHERE = 'backbone.checkpoint'
MINI = Path(__file__).parent / 'mini' / 'llava'
CURE = ('Get llava-hf/llava-1.5-7b-hf (or -13b-hf), the hub-format copy of liuhaotian/llava-v1.5-7b (-13b), which is '
        'tuned from lmsys/vicuna-7b-v1.5, and give its folder as backbone.checkpoint; '
        'or add --mini, which runs here without weights.')
OTHER_KINDS = {'qwen2_vl': "Qwen2-VL, use type='Qwen2VL'", 'qwen2_5_vl': "Qwen2.5-VL, use type='Qwen25VL'",
               'qwen3_vl': "Qwen3-VL, use type='Qwen3VL'", 'qwen': "Qwen-VL, use type='QwenVL'",
               'llama': 'a language model alone (Vicuna?), without vision tower and projector',
               'clip': 'a CLIP model alone', 'clip_vision_model': 'a CLIP vision tower alone'}
ORIGINAL = "LLaVA's original format (liuhaotian/...), not the hub format"


def resolve(checkpoint: str) -> Path:
    """The folder that `checkpoint` names; 'mini' is the embedded one."""
    return MINI if checkpoint == 'mini' else Path(checkpoint).expanduser()


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


def folder_problems(checkpoint: str, *, weights: bool = True) -> list[Problem]:
    """Everything that would keep this folder from loading, found without reading a weight."""
    folder = resolve(checkpoint)
    if not folder.is_dir():
        return [Problem(WHERE, f"folder '{checkpoint}' does not exist.", CURE)]
    try:
        return _kind_problems(folder) or (_weight_problems(folder) if weights else []) + _tokenizer_problems(folder)
    except ConfigError as error:
        return list(error.problems)


def _kind_problems(folder: Path) -> list[Problem]:
    if not (folder / 'config.json').is_file():
        return [Problem(WHERE, f"'{folder}' has no config.json.", CURE)]
    config = read_json(folder / 'config.json')
    kind = config.get('model_type')
    if kind == 'llava_llama' or (kind == 'llava' and 'text_config' not in config):
        return [Problem(WHERE, f"'{folder}': this looks like {ORIGINAL}.", CURE)]
    if kind != 'llava':
        looks = OTHER_KINDS.get(kind, f'a model of type {kind!r}')
        return [Problem(WHERE, f"'{folder}': this looks like {looks}; expected model_type 'llava'.", CURE)]
    return []


def _weight_problems(folder: Path) -> list[Problem]:
    names = weight_names(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return [Problem(WHERE, f"'{folder}' lacks {', '.join(missing)}, named by its index.", CURE)]
    if names:
        return []
    return [Problem(WHERE, f"'{folder}' has no weights (model.safetensors, its index, or pytorch_model.bin).", CURE)]


def _tokenizer_problems(folder: Path) -> list[Problem]:
    if any((folder / name).is_file() for name in ('tokenizer.json', 'tokenizer.model')):
        return []
    return [Problem(WHERE, f"'{folder}' has no tokenizer.json or tokenizer.model.", CURE)]


def weight_names(folder: Path) -> list[str]:
    """Names of the files that hold the weights, whether they are there or not; [] when the folder names none."""
    for stem, kind in (('model', 'safetensors'), ('pytorch_model', 'bin')):
        if (folder / f'{stem}.{kind}').is_file():
            return [f'{stem}.{kind}']
        shards = read_json(folder / f'{stem}.{kind}.index.json').get('weight_map', {})
        if shards:
            return sorted(set(shards.values()))
    return []


def load_model(folder: Path, *, dtype: torch.dtype, attn: str, device: torch.device,
               key_mapping: Mapping[str, str] | None = None) -> LlavaForConditionalGeneration:
    """The model with every tensor from the folder's files; raises ConfigError naming tensors that do not fit."""
    from safetensors import SafetensorError
    from transformers import LlavaForConditionalGeneration
    from transformers.utils import logging as transformers_logging
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its load report becomes our error
    bar = transformers_logging.is_progress_bar_enabled()
    if sum(file.stat().st_size for file in folder.glob('*.safetensors')) < SMALL:
        transformers_logging.disable_progress_bar()
    try:
        model, info = LlavaForConditionalGeneration.from_pretrained(
            str(folder), dtype=dtype, attn_implementation=attn, key_mapping=dict(key_mapping or {}) or None,
            output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise CoinkitError(f"{WHERE}: '{folder}' cannot be read: {error}") from error
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
    if problems := _tensor_problems(folder, info):
        raise ConfigError(problems)
    return model.to(device)


def _tensor_problems(folder: Path, info: Mapping[str, Any]) -> list[Problem]:
    shapes = [f'{name} is {list(given)}, expected {list(wanted)}' for name, given, wanted in info['mismatched_keys']]
    found = {'missing tensors': info['missing_keys'], 'tensors the model does not have': info['unexpected_keys'],
             'tensors of another shape': shapes}
    cure = 'Is this the folder of another model, or was its copy cut short?'
    return [Problem(WHERE, f"'{folder}': {what}: {_listed(sorted(names))}.", cure)
            for what, names in found.items() if names]


def _listed(names: list[str], most: int = 8) -> str:
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


def read_config(folder: Path) -> LlavaConfig:
    from transformers import LlavaConfig
    return LlavaConfig.from_pretrained(str(folder), local_files_only=True)


def random_model(config: LlavaConfig, *, dtype: torch.dtype, attn: str, device: torch.device,
                 seed: int) -> LlavaForConditionalGeneration:
    """Random weights of this shape, for speed and memory trials; leaves the global random state as it was."""
    from transformers import LlavaForConditionalGeneration
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation=attn)
    return model.to(device).eval()


def shapes_only(folder: Path, *, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """The model on the meta device, without reading a weight: for plans."""
    from transformers import LlavaForConditionalGeneration
    with torch.device('meta'):
        return LlavaForConditionalGeneration(read_config(folder)).to(dtype)


def kv_bytes_per_token(config: LlavaConfig, *, bytes_per_value: int = 2) -> int:
    """Key-value cache of one token over all layers."""
    text = config.text_config
    head = getattr(text, 'head_dim', None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * text.num_key_value_heads * head * bytes_per_value


def estimate_bytes(config: LlavaConfig, *, training: bool, dtype_bytes: int = 2, micro_batch_size: int = 1,
                   max_length: int = 2048, trainable_parameters: int | None = None,
                   gradient_checkpointing: bool = True) -> dict[str, int]:
    """Estimated bytes by purpose, from the config alone. Activations are an upper guess for full-length rows.

    `trainable_parameters` None = the projector. Each costs 16 bytes: fp32 weight, gradient and two moments.
    """
    from transformers import LlavaForConditionalGeneration
    with torch.device('meta'):
        model = LlavaForConditionalGeneration(config)
    text, tokens = config.text_config, micro_batch_size * max_length
    parts = {'weights': dtype_bytes * sum(parameter.numel() for parameter in model.parameters())}
    if not training:
        parts['kv_cache'] = tokens * kv_bytes_per_token(config, bytes_per_value=dtype_bytes)
        return {**parts, 'total': sum(parts.values())}
    if trainable_parameters is None:
        trainable_parameters = sum(one.numel() for one in model.model.multi_modal_projector.parameters())
    one_layer = tokens * (14 * text.hidden_size + 4 * text.intermediate_size) * dtype_bytes
    kept = tokens * text.hidden_size * dtype_bytes * text.num_hidden_layers
    parts['optimizer'] = 16 * trainable_parameters
    parts['activations'] = kept + one_layer if gradient_checkpointing else one_layer * text.num_hidden_layers
    return {**parts, 'total': sum(parts.values())}
