"""What a checkpoint folder holds, told from config.json and file names alone, and which backbone reads it.

A user with the wrong folder should hear what it is and which `type` to use, before anything is loaded. One table serves
every backbone. Folders that nothing is recognised in are not judged here: the backbone says what it misses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinkit.backbones.weights import WHERE, read_json
from coinkit.errors import Problem

GENERIC = 'HFVisionLanguage'
WEIGHTS = ('.safetensors', '.bin', '.pth')
PARTS = {'eva': 'eva_vit', 'projector': 'mm_projector', 'adapter': 'adapter_model'}  # kind: how all weight files begin
BESIDE = 'non_lora_trainables'  # a projector that LLaVA's code saves beside an adapter
Config = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of checkpoint: its name here, what it is called, the backbones that read it, and the cure where none does."""

    name: str
    looks_like: str
    types: tuple[str, ...] = ()
    cure: str = ''


KINDS = {kind.name: kind for kind in (
    Kind('llava', 'LLaVA in hub format', ('Llava', GENERIC)),
    Kind('llava_original', 'LLaVA in its original format', ('Llava',)),
    Kind('qwen_vl', 'Qwen-VL', ('QwenVL',)),
    Kind('qwen2_vl', 'Qwen2-VL', ('Qwen2VL', GENERIC)),
    Kind('qwen2_5_vl', 'Qwen2.5-VL', ('Qwen25VL', GENERIC)),
    Kind('qwen3_vl', 'Qwen3-VL', ('Qwen3VL', GENERIC)),
    Kind('minigpt_v2', 'MiniGPT-v2', ('MiniGPTv2',)),
    Kind('qwen', 'Qwen, a language model without pictures', (), 'Give a Qwen-VL or Qwen-VL-Chat folder.'),
    Kind('llama', 'a language model alone (Vicuna, Llama)', (),
         "type='Llava' starts from it with vision_tower= (a CLIP folder) and projector= (mm_projector.bin)."),
    Kind('clip', 'a CLIP model alone', (), "type='Llava' takes it as vision_tower=, beside a checkpoint."),
    Kind('eva', 'the EVA vision tower alone (eva_vit_g.pth)', (), "It is one part of type='MiniGPTv2'."),
    Kind('projector', "LLaVA's projector alone (mm_projector.bin)", (),
         "type='Llava' takes it as projector=, beside a language model."),
    Kind('adapter', 'a PEFT adapter (adapter_config.json)', (),
         'Give the folder of the model it was trained on, and the adapter as init_from.'),
    Kind('run', 'a coinkit run', (), "Give the model's folder, and the run (or 'RUN:stage') as init_from."),
    Kind('stage', 'a stage of a coinkit run', (), "Give the model's folder, and 'RUN:stage' as init_from."),
    Kind('file', 'a file', (), 'Give the folder that it is in.'),
)}


def kind_of(path: Path) -> Kind | None:
    """The kind of this folder; None where nothing is recognised, or there is no such folder."""
    if not path.exists():
        return None
    return _by_files(path) or _by_config(read_json(path / 'config.json'))


def wrong_kind(folder: Path, *, expected: str, also: Collection[str] = ()) -> Problem | None:
    """The problem when `folder` is recognised as something that type `expected` does not read.

    `also` names further kinds (`Kind.name`) that are right here, as a language model beside separate parts.
    """
    kind = kind_of(folder)
    if kind is None or expected in kind.types or kind.name in also:
        return None
    cure = f"use type='{kind.types[0]}'." if kind.types else kind.cure
    joint = ', ' if kind.types else '. '
    return Problem(WHERE, f"'{folder}': this looks like {kind.looks_like}{joint}{cure}",
                   f"Expected here: a checkpoint for type='{expected}'.")


def _by_files(path: Path) -> Kind | None:
    if path.is_file():
        return KINDS[next((kind for kind, stem in PARTS.items() if path.name.startswith(stem)), 'file')]
    names = {entry.name for entry in path.iterdir()}
    if 'ledger.jsonl' in names:
        return KINDS['run']
    if {'adapter', 'methods'} <= names or {'adapter.safetensors', 'card.json'} <= names:
        return KINDS['stage']
    weights = [name for name in names if name.endswith(WEIGHTS) and not name.startswith(BESIDE)]
    for kind, stem in PARTS.items():  # these folders may hold the config of the model that they are a part of
        if weights and all(name.startswith(stem) for name in weights):
            return KINDS[kind]
    return KINDS['adapter'] if 'adapter_config.json' in names and not weights else None


def _by_config(config: Config) -> Kind | None:
    if not config:
        return None
    for name, fits in _CONFIGS.items():
        if fits(config):
            return KINDS[name]
    model_type = config.get('model_type')
    return Kind('other', f'a model of type {model_type!r}', (GENERIC,)) if model_type else None


def _typed(*model_types: str) -> Callable[[Config], bool]:
    return lambda config: config.get('model_type') in model_types


def _is_llava_original(config: Config) -> bool:
    # every LLaVA of haotian-liu/LLaVA has mm_* fields; only transformers' has a text_config
    model_type = config.get('model_type', '')
    return model_type == 'llava_llama' or (model_type == 'llava' and 'text_config' not in config)


_CONFIGS: dict[str, Callable[[Config], bool]] = {
    'llava_original': _is_llava_original,
    'llava': _typed('llava'),
    'qwen_vl': lambda config: config.get('model_type') == 'qwen' and 'visual' in config,
    'qwen': _typed('qwen'),
    'qwen2_vl': _typed('qwen2_vl'),
    'qwen2_5_vl': _typed('qwen2_5_vl'),
    'qwen3_vl': _typed('qwen3_vl'),
    'minigpt_v2': lambda config: config.get('model_type') == 'minigpt_v2' or {'vit', 'llm'} <= config.keys(),
    'llama': _typed('llama'),
    'clip': _typed('clip', 'clip_vision_model'),
}
