"""Ungated blocks as stock PEFT LoRA folders, out and in.

Out: several active blocks become one LoRA of the summed rank; where their scales differ they are folded into B. Other
trained modules (the projector) travel through `modules_to_save`: `PeftModel.from_pretrained` gives equal logits. In:
whatever the bank cannot represent (DoRA, trained biases, ranks per module...) is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from coinkit.backbones.adapter_files import (
    CONFIG,
    LORA,
    PREFIX,
    WEIGHTS,
    copy_trained,
    read_beside,
    read_config,
    read_weights,
    trained_problems,
)
from coinkit.errors import ConfigError, DataError, Problem, RunError, nearest
from coinkit.nn.bank import AdapterBank


@dataclass(frozen=True)
class PeftLora:
    """A LoRA folder in memory: A and B per module name, and the other tensors that were trained, by parameter name."""

    rank: int
    scale: float
    dropout: float
    factors: Mapping[str, tuple[Tensor, Tensor]]
    trained: Mapping[str, Tensor] = field(default_factory=dict)


# ---- out


def export_peft(bank: AdapterBank, folder: str | os.PathLike[str], *, blocks: Sequence[str] | None = None,
                trained: Sequence[str] = (), base_model: str = '') -> list[Path]:
    """Write the sum of `blocks` (default: the active ones) and the parameters `trained`; returns the files written."""
    names = list(bank.active if blocks is None else blocks)
    _check_exportable(bank, names)
    rank, alpha, tensors = _summed(bank, names)
    saved = _whole_modules(bank, trained)
    tensors.update({f'{PREFIX}{name}': tensor for name, tensor in saved.items()})
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target / WEIGHTS, metadata={'format': 'pt'})
    modules = sorted({name.rpartition('.')[0] for name in saved})
    config = _config(bank, rank=rank, alpha=alpha, modules_to_save=modules, base_model=base_model)
    config.save_pretrained(str(target))
    return [target / CONFIG, target / WEIGHTS]


def _check_exportable(bank: AdapterBank, names: Sequence[str]) -> None:
    if bank.gate != 'none':
        raise RunError(f"a bank gated by '{bank.gate}' is no LoRA: its effect depends on the input, so PEFT cannot "
                       'load it and it cannot be merged. coinkit export RUN --to coin writes it.')
    if not names:
        raise RunError('there is no active block to export.')
    if bank.merged:
        raise RunError(f'blocks {bank.merged} were merged into the base weights, which a PEFT folder does not hold. '
                       'Export the merged model instead.')


def _summed(bank: AdapterBank, names: Sequence[str]) -> tuple[int, float, dict[str, Tensor]]:
    """Rank, alpha and tensors of sum_i s_i B_i A_i: PEFT scales by alpha / rank, once for all ranks."""
    infos = [bank.blocks[name] for name in names if name in bank.blocks]
    state = bank.state_dict(names)
    rank, scales = sum(info.rank for info in infos), [info.scale for info in infos]
    common = scales[0] if len(set(scales)) == 1 else 1.0
    tensors = {}
    for module in bank.targets:
        down = [state[f'{module}.{name}.A'] for name in names]
        up = [state[f'{module}.{name}.B'] * (scale / common) for name, scale in zip(names, scales, strict=True)]
        tensors[f'{PREFIX}{module}.lora_A.weight'] = torch.cat(down).contiguous()
        tensors[f'{PREFIX}{module}.lora_B.weight'] = torch.cat(up, 1).contiguous()
    return rank, common * rank, tensors


def _whole_modules(bank: AdapterBank, trained: Sequence[str]) -> dict[str, Tensor]:
    """PEFT saves modules, not parameters: complete each module that holds a trained parameter."""
    saved: dict[str, Tensor] = {}
    for module in sorted({name.rpartition('.')[0] for name in trained}):
        if any(module == target or module.startswith(f'{target}.') for target in bank.targets):
            raise RunError(f"'{module}' is both trained and adapted; a PEFT folder cannot say that. Export merged.")
        inner = bank.model.get_submodule(module)
        if any(True for _ in inner.children()):
            raise RunError(f"parameters of '{module}', which holds other modules, were trained; export merged instead.")
        saved.update({f'{module}.{key}': tensor.detach().cpu().clone() for key, tensor in inner.state_dict().items()})
    return saved


def _config(bank: AdapterBank, *, rank: int, alpha: float, modules_to_save: Sequence[str], base_model: str) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=int(alpha) if float(alpha).is_integer() else alpha, lora_dropout=bank.dropout,
                      bias='none', target_modules=list(bank.targets), modules_to_save=list(modules_to_save) or None,
                      base_model_name_or_path=base_model or None, inference_mode=True)


def export_merged(bank: AdapterBank, folder: str | os.PathLike[str], *, blocks: Sequence[str] | None = None) -> Path:
    """Merge and `save_pretrained`: afterwards the model is a plain one."""
    merge_all(bank, blocks=blocks)
    bank.model.save_pretrained(str(folder))
    return Path(folder)


def merge_all(bank: AdapterBank, *, blocks: Sequence[str] | None = None) -> None:
    """Merge the blocks (default: the active ones) into the base weights and take the bank off the model."""
    for name in list(bank.active if blocks is None else blocks):
        bank.merge(name)
    bank.remove()


# ---- in


def read_peft(folder: str | os.PathLike[str], *, rename: Callable[[str], str] = str) -> PeftLora:
    """Read a LoRA folder; `rename` maps its module and parameter names to the model's."""
    source = Path(folder)
    config = read_config(source, LORA)
    _, tensors = read_weights(source)
    rank = int(config['r'])
    scale = config['lora_alpha'] / (rank ** 0.5 if config.get('use_rslora') else rank)
    factors: dict[str, dict[str, Tensor]] = {}
    trained: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        for half in ('A', 'B'):
            if name.endswith(f'.lora_{half}.weight'):
                factors.setdefault(rename(name.removesuffix(f'.lora_{half}.weight')), {})[half] = tensor
                break
        else:
            if '.lora_' in name:
                raise DataError(f"{source}: tensor '{key}' is not one of a plain LoRA linear.")
            trained[rename(name)] = tensor
    trained |= read_beside(source, rename)
    _check_factors(source, factors, rank)
    return PeftLora(rank, float(scale), float(config.get('lora_dropout') or 0.0),
                    {name: (pair['A'], pair['B']) for name, pair in factors.items()}, trained)


def import_peft(model: nn.Module, folder: str | os.PathLike[str], *, block: str = 'default', trainable: bool = True,
                rename: Callable[[str], str] = str) -> AdapterBank:
    """Wrap the modules the folder adapts, and take its values and its other trained tensors."""
    lora = read_peft(folder, rename=rename)
    order = [name for name, _ in model.named_modules() if name in lora.factors]
    missing = [name for name in lora.factors if name not in set(order)]
    bank = AdapterBank(model, order + missing, dropout=lora.dropout)
    add_peft_block(bank, lora, block=block, trainable=trainable)
    return bank


def add_peft_block(bank: AdapterBank, lora: PeftLora, *, block: str, trainable: bool = True) -> None:
    """Add a LoRA that was read as a new block of an existing bank over the same modules.

    Where its B is zero it does nothing and needs no place: LLaVA's released runs adapt a layer that is not read.
    """
    factors = {name: (A, B) for name, (A, B) in lora.factors.items() if name in bank.layers or B.any()}
    lora = replace(lora, factors=factors)
    _check_fit(bank, lora)
    own_draws = torch.Generator()  # the start is overwritten: leave the global random state alone
    bank.add(block, rank=lora.rank, scale=lora.scale, trainable=trainable, generator=own_draws)
    state = {f'{name}.{block}.{half}': tensor for name, pair in lora.factors.items()
             for half, tensor in zip('AB', pair, strict=True)}
    bank.load_state_dict(state, strict=False)
    copy_trained(bank.model, lora.trained)


def _check_fit(bank: AdapterBank, lora: PeftLora) -> None:
    targets = set(bank.targets)
    problems = [Problem('PEFT folder', f"adapts '{name}', the bank does not.", nearest(name, bank.targets))
                for name in lora.factors if name not in targets]
    problems += [Problem('PEFT folder', f"does not adapt '{name}', the bank does.")
                 for name in bank.targets if name not in lora.factors]
    problems += trained_problems(bank.model, lora.trained, 'PEFT folder')
    for name, (A_rD, B_Or) in lora.factors.items():
        layer = bank.layers.get(name)
        if layer is not None and (A_rD.shape[1], B_Or.shape[0]) != (layer.in_features, layer.out_features):
            problems.append(Problem('PEFT folder', f"'{name}' is {A_rD.shape[1]} -> {B_Or.shape[0]} there and "
                                    f'{layer.in_features} -> {layer.out_features} here.'))
    if bank.gate != 'none':
        problems.append(Problem('adapter bank', f"a plain LoRA cannot join a bank gated by '{bank.gate}'."))
    if problems:
        raise ConfigError(problems[:10])


def _check_factors(source: Path, factors: Mapping[str, Mapping[str, Tensor]], rank: int) -> None:
    if not factors:
        raise DataError(f'{source}: no LoRA tensors.')
    for name, pair in factors.items():
        if set(pair) != {'A', 'B'}:
            raise DataError(f"{source}: '{name}' has lora_{''.join(pair)} only.")
        if pair['A'].shape[0] != rank or pair['B'].shape[1] != rank:
            raise DataError(f"{source}: '{name}' has rank {pair['A'].shape[0]}, the config says r = {rank}.")
