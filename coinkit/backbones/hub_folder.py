"""A checkpoint folder as published on the hub: where it is, what must be in it, its config and its end tokens.

Checks read a few small files and no weights; code that comes with a folder is never run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coinkit.backbones.chat import WHERE as TEMPLATE
from coinkit.backbones.checkpoint_kinds import wrong_kind
from coinkit.backbones.config_files import config_errors
from coinkit.backbones.processors import has_template, processor_problems
from coinkit.backbones.weights import WHERE, read_json, weight_problems
from coinkit.errors import ConfigError, Problem

CURE = 'Download the whole model from the hub and give its folder as backbone.checkpoint.'
SIDE_FILES = ('preprocessor_config.json', 'processor_config.json', 'video_preprocessor_config.json', 'tokenizer.json',
              'tokenizer_config.json', 'tokenizer.model', 'vocab.json', 'merges.txt', 'added_tokens.json',
              'special_tokens_map.json', 'chat_template.jinja', 'chat_template.json', 'generation_config.json')
# what a causal decoder with pictures among its tokens is not
UNLIKE = {'mllama': 'it reads pictures by cross-attention', 'florence2': 'it is an encoder with a decoder',
          'kosmos-2': 'its pictures are no tokens', 'kosmos-2.5': 'its pictures are no tokens',
          'pix2struct': 'it is an encoder with a decoder', 'udop': 'it is an encoder with a decoder',
          'vision-encoder-decoder': 'it is an encoder with a decoder', 'blip': 'it is an encoder with a decoder',
          'git': 'its pictures are no tokens', 'fuyu': 'its pictures are not read by a vision tower'}


def local_folder(checkpoint: str) -> Path:
    """The folder that `checkpoint` names: a path, or a hub name whose files are in the local cache."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir() or checkpoint.count('/') != 1:
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(checkpoint, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return folder


def check_folder(checkpoint: str, *, expected: str, weights: bool, template: str | None) -> list[Problem]:
    """Everything that would keep this checkpoint from loading as type `expected`."""
    folder = local_folder(checkpoint)
    if not folder.is_dir():
        return [Problem(WHERE, f"folder '{checkpoint}' does not exist, and the local hub cache has no such model.", CURE)]
    try:
        if not (folder / 'config.json').is_file() and wrong_kind(folder, expected=expected) is None:
            return [Problem(WHERE, f"'{folder}' has no config.json.", CURE)]
        problem = wrong_kind(folder, expected=expected) or _model_problem(folder)
        if problem is not None:
            return [problem]
        problems = (weight_problems(folder, CURE) if weights else []) + processor_problems(folder, CURE)
        if template is None and not has_template(folder):
            problems.append(Problem(TEMPLATE, f"'{folder}' has no chat template.",
                                    "Give Jinja text, or 'question': the question as it is, then the answer."))
        return problems
    except ConfigError as error:
        return list(error.problems)


def _model_problem(folder: Path) -> Problem | None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    config = read_json(folder / 'config.json')
    kind = config.get('model_type')
    if kind not in KNOWN:
        if 'auto_map' in config:
            return Problem(WHERE, f"'{folder}' (model_type {kind!r}) brings its own code (auto_map), which coinkit never "
                           'runs.', 'Use the copy of the model in the format of transformers; its name often ends in -hf.')
        return Problem(WHERE, f"'{folder}': transformers has no vision-language model of type {kind!r}.", CURE)
    if kind in UNLIKE or _encodes(config) or _encodes(config.get('text_config') or {}):
        why = UNLIKE.get(kind, 'its language model is an encoder with a decoder')
        return Problem(WHERE, f"'{folder}': a model of type {kind!r} cannot be used: {why}.",
                       'coinkit needs a causal language model that reads pictures between its tokens.')
    return None


def _encodes(config: dict[str, Any]) -> bool:
    return bool(config.get('is_encoder_decoder')) or config.get('model_type') in ('t5', 'bart', 'mbart')


def read_config(folder: Path) -> Any:
    """The transformers config of a folder."""
    from transformers import AutoConfig

    with config_errors(folder / 'config.json'):
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def generation_config(folder: Path) -> Any:
    """transformers' generation settings of a folder; None where it has none."""
    from transformers import GenerationConfig

    file = folder / 'generation_config.json'
    if not read_json(file):
        return None
    with config_errors(file):
        return GenerationConfig.from_pretrained(str(folder), local_files_only=True)


def stop_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: those of generation_config.json and the tokenizer's own."""
    given = read_json(folder / 'generation_config.json').get('eos_token_id')
    ids = {given} if isinstance(given, int) else set(given or ())
    return frozenset(ids | ({tokenizer.eos_token_id} - {None}))
