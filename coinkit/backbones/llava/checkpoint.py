"""A LLaVA checkpoint folder: what must be in it, how it is read, how much memory it will take.

Checks read a few small files and no weights. Loading is transformers' own (lazy, sharded, memory-mapped, straight to
the dtype) with one change: a missing, extra or mis-shaped tensor is an error that names it, not a line in a log.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coinkit.backbones.weights import WHERE, read_json, weight_problems
from coinkit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from transformers import LlavaConfig

MINI = Path(__file__).parent.parent / 'mini' / 'llava'
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


def folder_problems(checkpoint: str, *, weights: bool = True) -> list[Problem]:
    """Everything that would keep this folder from loading, found without reading a weight."""
    folder = resolve(checkpoint)
    if not folder.is_dir():
        return [Problem(WHERE, f"folder '{checkpoint}' does not exist.", CURE)]
    try:
        return _kind_problems(folder) or (weight_problems(folder, CURE) if weights else []) + _tokenizer_problems(folder)
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


def _tokenizer_problems(folder: Path) -> list[Problem]:
    if any((folder / name).is_file() for name in ('tokenizer.json', 'tokenizer.model')):
        return []
    return [Problem(WHERE, f"'{folder}' has no tokenizer.json or tokenizer.model.", CURE)]


def read_config(folder: Path) -> LlavaConfig:
    from transformers import LlavaConfig
    return LlavaConfig.from_pretrained(str(folder), local_files_only=True)
