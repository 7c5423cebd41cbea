"""What a run has learnt, as a folder: the bank's blocks and every other trained tensor, in safetensors with a JSON card.

The same folder form holds the start of a run (stage 00-zero-shot), the end of every stage and an `init_from`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coinkit import atomic
from coinkit.errors import Problem, RunError
from coinkit.nn.adapter_folder import join_tensors, load_adapter, save_adapter, split_tensors

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

IDENTITY = ('type', 'model_type', 'hidden_size', 'layers', 'vocabulary')  # keys of Backbone.describe() that must agree


def own_parameters(state: RunState) -> dict[str, torch.nn.Parameter]:
    """Trained parameters outside the bank (projector, full fine-tuning): those trained now or at any earlier stage."""
    of_bank = set(state.bank.trainable_parameters()) if state.bank else set()
    parameters = dict(state.backbone.model.named_parameters())
    state.trained |= {name for name, p in parameters.items() if p.requires_grad and name not in of_bank}
    return {name: parameters[name] for name in sorted(state.trained)}


def card(state: RunState) -> dict[str, Any]:
    """Describes the folder: the bank's blocks, the trained names, the backbone they belong to."""
    return {'stage': state.stage_name, 'task': state.task.name if state.index >= 0 else None,
            'backbone': state.backbone.describe(), 'bank': state.bank.card() if state.bank else None,
            'trained': sorted(state.trained)}


def tensors(state: RunState) -> dict[str, torch.Tensor]:
    """All learnt tensors on the CPU; the model must be plain (no strategy prepared)."""
    own = {name: p.detach().cpu() for name, p in own_parameters(state).items()}
    return join_tensors(state.bank.state_dict() if state.bank else {}, own)


def save(state: RunState, folder: Path) -> str:
    """Write the folder, which appears whole; returns the hash of its tensors."""
    values = tensors(state)
    with atomic.folder(folder) as temporary:
        return save_adapter(temporary, values, card(state))['sha256']


def load(state: RunState, folder: Path) -> None:
    """Make the model what it was when the folder was written: the bank's blocks are rebuilt from the card."""
    values, described = load_adapter(folder)
    check_fits(state, folder, described)
    of_bank, of_model = split_tensors(values)
    since = sorted(state.trained - set(of_model))
    if since:  # its value of that time is nowhere
        raise RunError(f"{folder}: does not hold '{since[0]}', which was trained since. Parameters of which an earlier "
                       'value may be wanted must train from the start: choose them in coinkit_prepare_model.')
    parameters = dict(state.backbone.model.named_parameters())
    _check_parameters(folder, of_model, parameters)
    if state.bank is not None:
        state.bank.restore(described['bank'], of_bank)
    state.trained = set(of_model)
    with torch.no_grad():
        for name, value in of_model.items():
            parameter = parameters[name]
            if parameter.dtype != value.dtype:  # trained in fp32 at that stage, over a bfloat16 base that is now frozen
                parameter.data = parameter.data.to(value.dtype)
            parameter.copy_(value)


def _check_parameters(folder: Path, values: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        if name not in parameters:
            raise RunError(f'{folder}: the backbone has no parameter {name!r}. Use the backbone it was made on.')
        if value.shape != parameters[name].shape:
            raise RunError(f"{folder}: '{name}' has shape {tuple(value.shape)} there and {tuple(parameters[name].shape)} "
                           'in this backbone. Use the backbone it was made on.')


def check_fits(state: RunState, folder: Path, described: Mapping[str, Any]) -> None:
    """An adapter of another backbone, or of a method of another kind, is refused before anything is changed."""
    if problems := fit_problems(state, folder, described):
        raise RunError(str(problems[0]))


def fit_problems(state: RunState, folder: Path, described: Mapping[str, Any]) -> list[Problem]:
    """What tells that an adapter belongs to another backbone, or else to a method of another kind."""
    mine, theirs = state.backbone.describe(), described.get('backbone') or {}
    differ = [key for key in IDENTITY if mine.get(key) != theirs.get(key)]
    if differ:
        listed = ', '.join(f'{key} {theirs.get(key)} instead of {mine.get(key)}' for key in differ)
        return [Problem(str(folder), f'this adapter was made on another backbone: {listed}.',
                        'Use the backbone it was made on.')]
    if (described['bank'] is None) != (state.bank is None):
        return [Problem(str(folder), f'the adapter {"has no" if described["bank"] is None else "has a"} LoRA bank and this '
                        f"run's method uses {'one' if state.bank else 'none'}.", 'Use the method it was made with.')]
    return []
