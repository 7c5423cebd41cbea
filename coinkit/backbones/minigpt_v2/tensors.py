"""From the published tensor names to this model's, every tensor unread until the model takes it.

Names are told by their prefixes, so that one rule serves a whole model, its parts and training checkpoints. Adapters
are merged into the base weights one matrix at a time (in fp32, then cast), or handed back beside them. The tower's
position table is resized when the file is of another picture size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coinkit.backbones.peft_io import PeftLora
from coinkit.backbones.weights import WHERE, LazyTensors, listed, read, renamed, shape_of, tensor_problems
from coinkit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from coinkit.backbones.minigpt_v2.configuration import MiniGPTv2Config

WRAPPED, LLAMA, TOWER, NORM = 'llama_model.base_model.model.', 'llama_model.', 'visual_encoder.', 'ln_vision.'
LANGUAGE = ('model.', 'lm_head.')
TOWER_FILE = ('cls_token', 'pos_embed', 'patch_embed.', 'blocks.', 'norm.', 'fc_norm.', 'head.')
KNOWN = (LLAMA, TOWER, NORM, 'llama_proj.', *LANGUAGE, *TOWER_FILE)
UNUSED = re.compile(r'visual_encoder\.(norm|fc_norm|head)\..*|.*\.rotary_emb\.inv_freq')
BLOCK = re.compile(r'visual_encoder\.blocks\.(\d+)\..*')
ADAPTER = re.compile(r'(?P<module>.+)\.lora_(?P<half>[AB])(\.(?P<name>[^.]+))?\.weight')
POSITIONS = 'visual_encoder.pos_embed'
DROP = "Was the copy cut short? lora='drop' loads the language model without adapters."


@dataclass(frozen=True)
class Computed:
    """A tensor that is made when it is read, as a safetensors slice is."""

    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    def get_shape(self) -> list[int]:
        return list(self.shape)

    def __getitem__(self, index: Any) -> Tensor:
        return self.make()[index]


def own_name(name: str, depth: int) -> str | None:
    """The model's name of a published tensor; None for one that the published model leaves out as well."""
    if name.startswith(WRAPPED):
        name = LLAMA + name.removeprefix(WRAPPED)
    elif name.startswith(LANGUAGE):
        name = LLAMA + name
    elif name.startswith(TOWER_FILE):
        name = TOWER + name
    name = name.replace('.base_layer.', '.')
    beyond = (found := BLOCK.fullmatch(name)) is not None and int(found[1]) >= depth
    return None if beyond or UNUSED.fullmatch(name) else name


def of_this_model(name: str) -> bool:
    """Whether a tensor of this name is one of MiniGPT-v2's, in its own spelling or PEFT's."""
    if '/' in name:  # a trainer's state, which no model's names look like
        return False
    return name.startswith(KNOWN) or LLAMA in name or ADAPTER.fullmatch(name) is not None


def official_name(name: str) -> str:
    """The published name of one of the model's own tensors."""
    return WRAPPED + name.removeprefix(LLAMA) if name.startswith(LLAMA) else name


def model_tensors(tensors: Mapping[str, Any], config: MiniGPTv2Config, *, source: Path, lora: str = 'merge',
                  alpha: float | None = None) -> tuple[LazyTensors, PeftLora | None]:
    """The model's tensors, and the adapters when `lora` is 'keep'; `alpha` None is the config's."""
    mine = renamed(tensors, lambda name: own_name(name, config.vit['depth']))
    pairs = _adapters(mine, source)
    mine = {name: value for name, value in mine.items() if not ADAPTER.fullmatch(name)}
    _add_norm(mine, config)
    _resize_positions(mine, config, source)
    if lora == 'drop' or not pairs:
        return mine, None
    rank = _checked_rank(pairs, mine, source)
    scale = (config.lora['alpha'] if alpha is None else alpha) / rank
    if lora == 'keep':
        factors = {name: (read(A_rD).float(), read(B_Or).float()) for name, (A_rD, B_Or) in pairs.items()}
        return mine, PeftLora(rank, scale, 0.0, factors)
    for module, (A_rD, B_Or) in pairs.items():
        mine[f'{module}.weight'] = _merged(mine[f'{module}.weight'], A_rD, B_Or, scale)
    return mine, None


def fit_problems(tensors: LazyTensors, shapes: Mapping[str, tuple[int, ...]], *, source: Path, tied: bool) -> list[Problem]:
    """Every tensor that is missing, extra or of another shape, before one is read."""
    optional = {f'{LLAMA}lm_head.weight'} if tied else set()
    shared = tensors.keys() & shapes.keys()
    wrong = [(name, shape_of(tensors[name]), shapes[name]) for name in shared if shape_of(tensors[name]) != shapes[name]]
    missing = shapes.keys() - tensors.keys() - optional
    return tensor_problems(source, missing, tensors.keys() - shapes.keys(), wrong)


def adapter_problems(tensors: Mapping[str, Any], config: MiniGPTv2Config, *, source: Path, expected: bool) -> list[Problem]:
    """Adapters that the published checkpoint has and `tensors` lack, and a rank that is not the config's.

    Without any the model would load all the same, as the bare language model. That is right only for one whose adapters
    were merged before: it has no names of PEFT's wrapper, and no file of its own was `expected` to bring them.
    """
    mine = renamed(tensors, lambda name: own_name(name, config.vit['depth']))
    pairs, targets = _adapters(mine, source), config.lora['target_modules']
    linears = [module for name in mine if _is_target(module := name.removesuffix('.weight'), targets)]
    if not pairs:
        due = expected or any(name.startswith(WRAPPED) for name in tensors)
        at = f' at {listed(linears)}' if linears else ''
        return [Problem(WHERE, f"'{source}' holds no adapters (lora_A, lora_B), expected{at}.", DROP)] if due else []
    problems = []
    if missing := [module for module in linears if module not in pairs]:
        problems.append(Problem(WHERE, f"'{source}': adapters are missing at {listed(missing)}.", DROP))
    if not linears:
        problems.append(Problem('config.json: lora.target_modules', f'{targets!r} names no linear of the language model.'))
    rank = shape_of(next(iter(pairs.values()))[0])[0]
    if rank != config.lora['r']:
        problems.append(Problem(
            'config.json: lora.r', f"is {config.lora['r']}, but the adapters in '{source}' have rank {rank}. Their scale is "
            'alpha / r.', "Give a folder whose config.json has both under 'lora'."))
    return problems


def _adapters(tensors: LazyTensors, source: Path) -> dict[str, tuple[Any, Any]]:
    """A and B by module name; old PEFT has no adapter name in the tensor's, later ones have."""
    halves: dict[str, dict[str, Any]] = {}
    names = set()
    for name, tensor in tensors.items():
        if found := ADAPTER.fullmatch(name):
            halves.setdefault(found['module'], {})[found['half']] = tensor
            names.add(found['name'] or 'default')
    if len(names) > 1:
        raise ConfigError(Problem(WHERE, f"'{source}' holds several adapters: {listed(sorted(names))}; one is read."))
    if half := sorted(module for module, pair in halves.items() if len(pair) == 1):
        raise ConfigError(Problem(WHERE, f"'{source}': one half of the adapter is missing at {listed(half)}.",
                                  'Was the copy cut short?'))
    return {module: (pair['A'], pair['B']) for module, pair in halves.items()}


def _is_target(module: str, targets: str | Sequence[str]) -> bool:
    """Whether PEFT would adapt this part of the language model: a pattern for the whole name, or endings."""
    name = module.removeprefix(LLAMA)
    if name == module:
        return False
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return f'.{name}'.endswith(tuple(f'.{one}' for one in targets))


def _checked_rank(pairs: Mapping[str, tuple[Any, Any]], tensors: LazyTensors, source: Path) -> int:
    """The rank of adapters that fit the model and each other."""
    rank = shape_of(next(iter(pairs.values()))[0])[0]
    wrong = []
    for module, (A_rD, B_Or) in pairs.items():
        base = tensors.get(f'{module}.weight')
        if base is None:
            wrong.append(f'{module} is adapted but not there')
            continue
        outputs, inputs = shape_of(base)
        if (shape_of(A_rD), shape_of(B_Or)) != ((rank, inputs), (outputs, rank)):
            wrong.append(f'{module} is {outputs} x {inputs}, its adapter {list(shape_of(B_Or))} x {list(shape_of(A_rD))}')
    if wrong:
        raise ConfigError(Problem(WHERE, f"'{source}': adapters of rank {rank} do not fit: {listed(wrong)}.",
                                  'Is this the checkpoint of another language model?'))
    return rank


def _merged(base: Any, A_rD: Any, B_Or: Any, scale: float) -> Computed:
    def make() -> Tensor:
        weight_OD = read(base)
        wide = torch.promote_types(weight_OD.dtype, torch.float32)
        return torch.addmm(weight_OD.to(wide), read(B_Or).to(wide), read(A_rD).to(wide), alpha=scale)

    return Computed(shape_of(base), make)


def _add_norm(tensors: LazyTensors, config: MiniGPTv2Config) -> None:
    """Nothing trains ln_vision, and the published files lack it: it starts as torch's own LayerNorm."""
    if not any(name.startswith(NORM) for name in tensors):
        width = config.vit['embed_dim']
        tensors |= {f'{NORM}weight': torch.ones(width), f'{NORM}bias': torch.zeros(width)}


def _resize_positions(tensors: LazyTensors, config: MiniGPTv2Config, source: Path) -> None:
    table, side = tensors.get(POSITIONS), config.patches_per_side
    if table is None or shape_of(table)[1:2] == (1 + side * side,):
        return
    shape = shape_of(table)
    if len(shape) != 3 or math.isqrt(max(shape[1] - 1, 0)) ** 2 != shape[1] - 1:
        raise ConfigError(Problem(WHERE, f"'{source}': {POSITIONS} has shape {list(shape)}; expected one class position and "
                                  'a square of patches.'))
    tensors[POSITIONS] = Computed((1, 1 + side * side, shape[2]), lambda: resized_positions(read(table), side))


def resized_positions(table_1TW: Tensor, side: int) -> Tensor:
    """The position table for `side` x `side` patches: bicubic, the class position kept."""
    cls_11W, patches_1TW = table_1TW[:, :1].float(), table_1TW[:, 1:].float()
    old = math.isqrt(patches_1TW.shape[1])
    grid_1Wss = patches_1TW.transpose(1, 2).unflatten(2, (old, old))
    grid_1Wss = F.interpolate(grid_1Wss, size=(side, side), mode='bicubic', align_corners=False)
    return torch.cat([cls_11W, grid_1Wss.flatten(2).transpose(1, 2)], 1)
