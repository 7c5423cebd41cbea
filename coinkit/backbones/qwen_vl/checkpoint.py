"""A Qwen-VL checkpoint folder: what must be in it. The checks read a few small files and no weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coinkit.backbones.checkpoint_kinds import wrong_kind
from coinkit.backbones.config_files import config_errors
from coinkit.backbones.qwen_vl.tokenizer import QwenCodec, read_codec, tokenizer_file
from coinkit.backbones.weights import WHERE, read_json, weight_problems
from coinkit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from coinkit.backbones.qwen_vl.configuration import QwenVLConfig

MINI = Path(__file__).parent.parent / 'mini' / 'qwen_vl'
CURE = ('Get Qwen/Qwen-VL-Chat or Qwen/Qwen-VL and give its folder as backbone.checkpoint; '
        'or add --mini, which runs here without weights.')


def resolve(checkpoint: str) -> Path:
    """The folder that `checkpoint` names; 'mini' is the embedded one."""
    return MINI if checkpoint == 'mini' else Path(checkpoint).expanduser()


def folder_problems(checkpoint: str, *, weights: bool = True) -> list[Problem]:
    """Everything that would keep this folder from loading, found without reading a weight."""
    folder = resolve(checkpoint)
    if not folder.exists():
        return [Problem(WHERE, f"folder '{checkpoint}' does not exist.", CURE)]
    try:
        if problem := wrong_kind(folder, expected='QwenVL') or _config_problem(folder):
            return [problem]
        return (weight_problems(folder, CURE) if weights else []) + _tokenizer_problems(folder)
    except ConfigError as error:
        return list(error.problems)


def _config_problem(folder: Path) -> Problem | None:
    config = read_json(folder / 'config.json')
    if not config:
        return Problem(WHERE, f"'{folder}' has no config.json.", CURE)
    if 'quantization_config' in config:
        return Problem(WHERE, f"'{folder}' holds weights that are quantised already.",
                       "Give the folder of the original weights; quantization='4bit' quantises them while loading.")
    if config.get('model_type') != 'qwen':
        return Problem(WHERE, f"'{folder}': config.json has model_type {config.get('model_type')!r}, expected 'qwen'.", CURE)
    return None


def _tokenizer_problems(folder: Path) -> list[Problem]:
    try:
        tokenizer_file(folder)
    except ConfigError as error:
        return list(error.problems)
    return []


def read_config(folder: Path) -> QwenVLConfig:
    """The model's config; raises ConfigError on sizes that do not fit each other."""
    from coinkit.backbones.qwen_vl.configuration import QwenVLConfig

    with config_errors(folder / 'config.json'):
        return QwenVLConfig.from_dict(read_json(folder / 'config.json'))


def read_vocabulary(folder: Path, config: QwenVLConfig) -> QwenCodec:
    """The folder's codec. Specials are numbered from the last rank on, so a vocabulary that was cut would shift them all.

    One with more ids than the model embeds is no such case: records that need them are refused by name.
    """
    codec = read_codec(folder, image_slots=config.visual['n_queries'])
    found, wanted = codec.special_id('<img>'), config.visual['image_start_id']
    if codec.vocabulary <= config.vocab_size and found != wanted:
        lines = len(codec.ranks)
        raise ConfigError(Problem(
            str(tokenizer_file(folder)), f'has {lines} lines, which makes {found} the id of <img>; config.json says '
            f'visual.image_start_id {wanted}, that is {lines + wanted - found} lines.', 'Was the copy cut short?'))
    return codec
