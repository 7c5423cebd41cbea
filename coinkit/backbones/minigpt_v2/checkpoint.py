"""Where MiniGPT-v2's weights lie, and what must be there.

Either one folder with everything (config.json, every tensor, tokenizer), or the three published parts: the picture tower
`eva_vit_g.pth`, a Llama-2-chat folder, and the MiniGPT-v2 checkpoint with projection and adapters. The parts may lie in
one folder, Llama's files in a folder of their own there or beside the others, or be named one by one. A checkpoint beside
a whole model is laid over it. Checks read names and sizes, no weight.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.backbones.checkpoint_kinds import wrong_kind
from coinkit.backbones.config_files import config_errors
from coinkit.backbones.minigpt_v2.tensors import of_this_model
from coinkit.backbones.weights import (
    NOT_WEIGHTS,
    PICKLED,
    WHERE,
    open_files,
    read_json,
    weight_names,
    weight_problems,
)
from coinkit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from coinkit.backbones.minigpt_v2.configuration import MiniGPTv2Config

MINI = Path(__file__).parent.parent / 'mini' / 'minigpt_v2'
CURE = ('Get eva_vit_g.pth, meta-llama/Llama-2-7b-chat-hf and the MiniGPT-v2 checkpoint of Vision-CAIR/MiniGPT-4; give '
        'them as vit=, llama= and checkpoint=, or put the three into one folder; '
        'or add --mini, which runs here without weights.')
STANDARD = re.compile(r'(model|pytorch_model)([-.].*)?\.(safetensors|bin)')  # a language model's own files
META = re.compile(r'consolidated\.\d+\.pth')  # Llama a second time, in Meta's own format


@dataclass(frozen=True)
class Sources:
    """The tensors of `trained` are laid over those of `files`; `folder` has the tokenizer, `config` the sizes."""

    files: tuple[Path, ...]
    trained: tuple[Path, ...]
    folder: Path
    config: MiniGPTv2Config


def resolve(checkpoint: str) -> Path:
    """The folder or file that `checkpoint` names; 'mini' is the embedded folder."""
    return MINI if checkpoint == 'mini' else Path(checkpoint).expanduser()


def sources(checkpoint: str, *, llama: str | None, vit: str | None) -> Sources:
    """Files, tokenizer folder and config of a checkpoint that has no problems."""
    path = resolve(checkpoint)
    language = _language_folder(path, llama)
    own = read_json(path / 'config.json')
    if _whole(path, own, llama, vit):
        beside = tuple(file for file in _beside(path) if any(map(of_this_model, open_files([file]))))
        return Sources(tuple(path / name for name in weight_names(path)), beside, path, _config(path, own))
    if language != path or _is_llama(own):
        own = {**({} if _is_llama(own) else own), 'llm': read_json(language / 'config.json')}
    base, trained = part_files(path, language, vit)
    return Sources(tuple(base), tuple(trained), _tokenizer_folder(path, language),
                   _config(path if language == path else language, own))


def _config(folder: Path, own: dict[str, Any]) -> MiniGPTv2Config:
    from coinkit.backbones.minigpt_v2.configuration import MiniGPTv2Config

    with config_errors(folder / 'config.json'):
        return MiniGPTv2Config(**own)


def part_files(path: Path, language: Path, vit: str | None) -> tuple[list[Path], list[Path]]:
    """Picture tower and language model; and what was trained: its tensors win where one has them twice."""
    others = [path] if path.is_file() else _other_files(path)
    towers = [file for file in others if _is_tower(file)]
    base = [Path(vit).expanduser()] if vit else towers
    return base + [language / name for name in _language_names(language)], [file for file in others if file not in towers]


def checkpoint_problems(checkpoint: str, *, llama: str | None, vit: str | None, weights: bool = True) -> list[Problem]:
    """Everything that would keep the checkpoint from loading, found without reading a weight."""
    path = resolve(checkpoint)
    named = {WHERE: path, **{f'backbone.{key}': Path(value).expanduser()
                             for key, value in (('llama', llama), ('vit', vit)) if value}}
    absent = [Problem(where, f"'{given}' does not exist.", CURE) for where, given in named.items() if not given.exists()]
    if absent:
        return absent
    try:
        if path.is_dir() and (wrong := wrong_kind(path, expected='MiniGPTv2', also=('llama', 'eva'))):
            return [wrong]
        own = read_json(path / 'config.json')
        if _whole(path, own, llama, vit):
            found = (weight_problems(path, CURE) if weights else []) + _tokenizer_problems(path)
            names = weight_names(path) if weights else []
            return found + damaged_files([*(path / name for name in names), *(_beside(path) if weights else [])])
        return _part_problems(path, llama, vit, weights)
    except ConfigError as error:
        return list(error.problems)


def _part_problems(path: Path, llama: str | None, vit: str | None, weights: bool) -> list[Problem]:
    language = _language_folder(path, llama)
    problems = []
    if language is None:
        problems.append(Problem('backbone.llama', f"is not given, and '{path}' has no folder of a Llama model (config.json "
                                "with model_type 'llama') or more than one.", CURE))
    else:
        problems += [] if language == path and _is_flat(path) else _llama_problems(language)
        problems += _tokenizer_problems(_tokenizer_folder(path, language))
        problems += weight_problems(language, CURE, where='backbone.llama') if weights else []
    others = [path] if path.is_file() else _other_files(path)
    towers = [file for file in others if _is_tower(file)]
    if weights and not (vit or towers):
        problems.append(Problem('backbone.vit', f"is not given, and '{path}' has no eva_vit_g.pth.", CURE))
    if weights and len(others) == len(towers):
        problems.append(Problem(WHERE, f"'{path}' has no MiniGPT-v2 checkpoint (a .pth or .safetensors file with "
                                'llama_proj and the adapters).', CURE))
    given = [file for part in part_files(path, language, vit) for file in part] if language else others
    return problems + damaged_files(given if weights else [])


def damaged_files(found: Iterable[Path]) -> list[Problem]:
    """Files that are cut short or something else than weights; reads their first bytes and headers alone."""
    problems = ((file, _damage(file)) for file in found if file.is_file())
    return [Problem(WHERE, f"'{file}' {damage}.", 'Copy it again.') for file, damage in problems if damage]


def _damage(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    if file.suffix == '.safetensors':
        try:
            with safe_open(file, framework='pt'):
                return None
        except SafetensorError as error:
            return f'cannot be read ({error}): it is cut short, or no safetensors file'
    with file.open('rb') as opened:
        start = opened.read(2)
    if start == b'PK':  # torch's format, a zip: its table stands at the end
        return None if zipfile.is_zipfile(file) else 'is cut short'
    return None if start[:1] == b'\x80' else 'is no torch file (a Git LFS pointer?)'  # torch's older format, a bare pickle


def _llama_problems(language: Path) -> list[Problem]:
    config = read_json(language / 'config.json')
    if _is_llama(config):
        return []
    found = f"model_type {config['model_type']!r}" if 'model_type' in config else 'no config.json with a model_type'
    return [Problem('backbone.llama', f"'{language}' has {found}, expected 'llama'.", CURE)]


def _tokenizer_problems(folder: Path) -> list[Problem]:
    if _has_tokenizer(folder):
        return []
    return [Problem(WHERE, f"'{folder}' has no tokenizer.json or tokenizer.model.", CURE)]


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ('tokenizer.json', 'tokenizer.model'))


def _tokenizer_folder(path: Path, language: Path) -> Path:
    return path if path.is_dir() and _has_tokenizer(path) else language


def _whole(path: Path, own: dict, llama: str | None, vit: str | None) -> bool:
    """One folder under MiniGPT-v2's own config, without separate parts."""
    return path.is_dir() and bool(own) and not _is_llama(own) and not (llama or vit or any(path.glob('eva_vit*')))


def _is_llama(config: dict) -> bool:
    return config.get('model_type') == 'llama'


def _is_flat(folder: Path) -> bool:
    """Whether Llama's own files lie under a config of the whole model, beside the other parts."""
    own = read_json(folder / 'config.json')
    return not _is_llama(own) and not own.keys().isdisjoint(('llm', 'text_config')) and bool(_language_names(folder))


def _is_tower(file: Path) -> bool:
    return file.name.startswith('eva_vit')


def _language_folder(path: Path, llama: str | None) -> Path | None:
    """The named folder, the checkpoint's own, or the only Llama inside it; None when that is unclear."""
    if llama:
        return Path(llama).expanduser()
    if not path.is_dir() or _is_llama(read_json(path / 'config.json')):
        return path if path.is_dir() else None
    found = [folder for folder in sorted(path.iterdir()) if _is_llama(read_json(folder / 'config.json'))]
    found += [path] if _is_flat(path) else []
    return found[0] if len(found) == 1 else None


def _language_names(language: Path) -> list[str]:
    return [name for name in weight_names(language) if STANDARD.fullmatch(name)]


def _other_files(folder: Path) -> list[Path]:
    """Weight files that are not a language model's; a pickled file with a safetensors twin is left out."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(NOT_WEIGHTS)]
    safe = [file for file in files if file.suffix == '.safetensors']
    stems = {file.stem for file in safe}
    pickled = [file for file in files if file.suffix in PICKLED and file.stem not in stems]
    return [file for file in safe + pickled if not STANDARD.fullmatch(file.name) and not META.fullmatch(file.name)]


def _beside(folder: Path) -> list[Path]:
    """Weight files of a whole folder that are not those it is loaded from."""
    names = weight_names(folder)
    return [file for file in _other_files(folder) if file.name not in names]
