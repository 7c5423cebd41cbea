"""Where a LLaVA comes from: one hub-format folder, one in the original format, or a language model with its parts.

`Source` finds the parts, says everything that is wrong with them without reading a weight, and gives the config and the
tensors under transformers' names. Nothing is converted or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.backbones.checkpoint_kinds import kind_of, wrong_kind
from coinkit.backbones.llava import original
from coinkit.backbones.llava.names import PROJECTOR, TOWER, model_name, projector_name, tower_name
from coinkit.backbones.weights import (
    WHERE,
    FirstRows,
    LazyTensors,
    open_files,
    open_folder,
    read_json,
    renamed,
    tensor_names,
    weight_problems,
)
from coinkit.errors import CoinkitError, ConfigError, Problem

if TYPE_CHECKING:
    from transformers import LlavaConfig

MINI = Path(__file__).parent.parent / 'mini' / 'llava'
CURE = ('Get liuhaotian/llava-v1.5-7b (or -13b) with openai/clip-vit-large-patch14-336 as vision_tower, or its hub-format '
        'copy llava-hf/llava-1.5-7b-hf, or start as CoIN does from lmsys/vicuna-7b-v1.5 with vision_tower and projector; '
        'or add --mini, which runs here without weights.')
TOWER_CURE = "Give the folder of openai/clip-vit-large-patch14-336 as backbone.vision_tower."
PROJECTOR_CURE = ('Give mm_projector.bin of liuhaotian/llava-v1.5-mlp2x-336px-pretrain-vicuna-7b-v1.5 (or -13b-) as '
                  'backbone.projector.')
PROJECTOR_FILES = ('mm_projector.safetensors', 'mm_projector.bin')
VOCABULARY = ('embed_tokens.weight', 'lm_head.weight')  # tensors with a row per token


@dataclass(frozen=True)
class Source:
    """The parts as given: `folder` alone, or with a CLIP folder and a projector's file that replace its own.

    An original folder may keep its projector apart, in an mm_projector file of its own.
    """

    folder: Path
    vision_tower: Path | None = None
    projector: Path | None = None

    @classmethod
    def of(cls, checkpoint: str, vision_tower: str | None = None, projector: str | None = None) -> Source:
        """From the arguments of `Llava`; 'mini' is the embedded folder, a projector may be given by its folder."""
        folder = MINI if checkpoint == 'mini' else Path(checkpoint).expanduser()
        tower = None if vision_tower is None else Path(vision_tower).expanduser()
        return cls(folder, tower, None if projector is None else _projector_file(Path(projector).expanduser()))

    @cached_property
    def kind(self) -> str:
        """The name of the folder's kind; '' where nothing is recognised."""
        found = kind_of(self.folder)
        return '' if found is None else found.name

    @cached_property
    def fields(self) -> dict[str, Any]:
        return read_json(self.folder / 'config.json')

    @cached_property
    def picture_fields(self) -> tuple[Path, dict[str, Any]]:
        """The file with the `mm_*` fields, and they: a language model has none, its projector's folder may."""
        file = self.folder / 'config.json'
        if self.kind == 'llama' and self.projector is not None:
            file = self.projector.parent / 'config.json'
        return file, {name: value for name, value in read_json(file).items() if name.startswith('mm_')}

    # --- problems -----------------------------------------------------------------------------------------------

    def problems(self, *, weights: bool = True) -> list[Problem]:
        """Everything that would keep these parts from loading; reads names of tensors, no weight."""
        if not self.folder.exists():
            return [Problem(WHERE, f"folder '{self.folder}' does not exist.", CURE), *self._part_problems(weights)]
        try:
            return [*(self._kind_problems() or self._folder_problems(weights)), *self._part_problems(weights)]
        except ConfigError as error:
            return list(error.problems)
        except CoinkitError as error:  # a weight file without readable header
            return [Problem('', str(error))]

    def _kind_problems(self) -> list[Problem]:
        if problem := wrong_kind(self.folder, expected='Llava', also=('llama',)):
            return [Problem(problem.where, problem.message, CURE)]
        if not self.fields:
            return [Problem(WHERE, f"'{self.folder}' has no config.json.", CURE)]
        given = [name for name in ('vision_tower', 'projector') if getattr(self, name) is not None]
        if self.kind == 'llava' and given:
            return [Problem(f'backbone.{name}', f"'{self.folder}' is in hub format and has its own.", 'Leave this out.')
                    for name in given]
        return []

    def _folder_problems(self, weights: bool) -> list[Problem]:
        problems = _tokenizer_problems(self.folder)
        if not weights:
            return problems
        missing = weight_problems(self.folder, CURE)
        return missing + problems + ([] if missing or self.kind == 'llava' else self._whole_problems())

    def _whole_problems(self) -> list[Problem]:
        """Parts that neither the folder nor the arguments have."""
        looks = f"'{self.folder}'" + (', a language model alone,' if self.kind == 'llama' else '')
        names = set() if self.kind == 'llama' else {model_name(name) for name in tensor_names(self.folder)}
        problems = []
        if self.vision_tower is None and not any(name.startswith(TOWER) for name in names):
            problems.append(Problem('backbone.vision_tower', f'{looks} holds no vision tower.', TOWER_CURE))
        if own := self._own_projector(names):
            problems += _projector_problems(own)
        elif self.projector is None and not any('projector' in name for name in names):
            problems.append(Problem('backbone.projector', f'{looks} holds no projector.', PROJECTOR_CURE))
        return problems + (_linear_problems(self.folder, names) if self.projector is None else [])

    def _own_projector(self, names: Iterable[str]) -> Path | None:
        """The projector's file in a folder of the original format whose weights, called `names`, have none."""
        if self.projector is not None or self.kind != 'llava_original' or any('projector' in name for name in names):
            return None
        file = _projector_file(self.folder)
        return file if file.is_file() else None

    def _part_problems(self, weights: bool) -> list[Problem]:
        problems = _tower_problems(self.vision_tower, weights) if self.vision_tower else []
        problems += _projector_problems(self.projector) if self.projector and weights else []
        return problems + ([] if self.kind == 'llava' else original.field_problems(*self.picture_fields))

    # --- content ------------------------------------------------------------------------------------------------

    def config(self) -> LlavaConfig:
        from transformers import LlavaConfig

        if self.kind == 'llava':
            return LlavaConfig.from_pretrained(str(self.folder), local_files_only=True)
        return original.original_config(self.fields, picture=self.picture_fields[1], vision_tower=self.vision_tower)

    def pixel_statistics(self) -> dict[str, Any]:
        """Mean and spread of the pixels, from the nearest file that says them."""
        tower = {} if self.vision_tower is None else read_json(self.vision_tower / 'preprocessor_config.json')
        own = self.fields.get('image_processor') or {}
        return tower | own | read_json(self.folder / 'preprocessor_config.json') | read_json(self.folder / 'coinkit.json')

    def tensors(self, *, key_mapping: Mapping[str, str] | None = None, rows: int | None = None) -> LazyTensors:
        """Every tensor of the model, unread; of the vocabulary's only the first `rows`."""
        found = renamed(open_folder(self.folder), lambda name: model_name(name, key_mapping))
        if self.vision_tower is not None:
            found = _without(found, TOWER) | renamed(open_folder(self.vision_tower), tower_name)
        if projector := self.projector or self._own_projector(found):
            found = _without(found, PROJECTOR) | renamed(open_files([projector]), projector_name)
        if rows is None:
            return found
        return {name: FirstRows(one, rows) if name.endswith(VOCABULARY) else one for name, one in found.items()}


def _without(tensors: LazyTensors, prefix: str) -> LazyTensors:
    return {name: one for name, one in tensors.items() if not name.startswith(prefix)}


def _projector_file(path: Path) -> Path:
    return next((path / name for name in PROJECTOR_FILES if (path / name).is_file()), path)


def _tokenizer_problems(folder: Path) -> list[Problem]:
    if any((folder / name).is_file() for name in ('tokenizer.json', 'tokenizer.model')):
        return []
    return [Problem(WHERE, f"'{folder}' has no tokenizer.json or tokenizer.model.", CURE)]


def _tower_problems(folder: Path, weights: bool) -> list[Problem]:
    where = 'backbone.vision_tower'
    if not folder.is_dir():
        return [Problem(where, f"folder '{folder}' does not exist.", TOWER_CURE)]
    kind = kind_of(folder)
    if kind is None or kind.name != 'clip':
        looks = 'has no config.json of a CLIP model' if kind is None else f'looks like {kind.looks_like}, expected CLIP'
        return [Problem(where, f"'{folder}' {looks}.", TOWER_CURE)]
    return weight_problems(folder, TOWER_CURE, where=where) if weights else []


def _projector_problems(file: Path) -> list[Problem]:
    where = 'backbone.projector'
    if not file.is_file():
        return [Problem(where, f"'{file}' is not a file.", PROJECTOR_CURE)]
    names = set(renamed(open_files([file]), projector_name))
    if not names:
        return [Problem(where, f"'{file}' holds no tensor named mm_projector.*.", PROJECTOR_CURE)]
    return _linear_problems(file, names)


def _linear_problems(path: Path, names: set[str]) -> list[Problem]:
    if 'model.mm_projector.weight' not in names:
        return []
    return [Problem('backbone.projector', f"'{path}' holds a single linear as projector; LLaVA-1.5 has two layers "
                    '(mm_projector.0, mm_projector.2).', PROJECTOR_CURE)]
