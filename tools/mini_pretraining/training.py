"""The pre-training loop's state: model, AdamW, cosine, and one checkpoint file that is replaced atomically.

A checkpoint is a single safetensors file whose metadata holds the step and the recipe; nothing is pickled. The model
has no dropout and the data depend on (seed, step) alone, so there is no random state to keep.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from coinkit.errors import RunError
from coinkit.types import Sample
from tools.mini_pretraining.model import MiniModel

CHECKPOINT = 'checkpoint.safetensors'
GRADIENT_NORM = 1.0


class Trainer:
    """Trains `model` by `recipe`: a JSON-able description that a checkpoint must share to be continued."""

    def __init__(self, model: MiniModel, recipe: dict[str, Any]):
        self.model, self.recipe, self.step = model, recipe, 0
        self.names = list(model.trainable())
        self.optimizer = torch.optim.AdamW(model.trainable().values(), lr=recipe['lr'], weight_decay=0.01)
        self._started: float | None = None
        self._steps_here = 0

    def rate(self) -> float:
        """Learning rate of the coming step: linear warm-up, then cosine to zero."""
        warm = min(1.0, (self.step + 1) / max(1, self.recipe['warmup']))
        return self.recipe['lr'] * warm * 0.5 * (1 + math.cos(math.pi * self.step / self.recipe['steps']))

    def train_step(self, batch: Sequence[Sample]) -> float:
        self._started = self._started or time.monotonic()
        for group in self.optimizer.param_groups:
            group['lr'] = self.rate()
        loss = self.model.backward(batch)
        torch.nn.utils.clip_grad_norm_(self.model.trainable().values(), GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._steps_here += 1
        return loss.item()

    def samples_per_second(self, batch_size: int) -> float:
        return self._steps_here * batch_size / max(1e-9, time.monotonic() - self._started) if self._started else 0.0

    def save(self, out: Path) -> None:
        """Replace the checkpoint in one step: a kill leaves the old one or the new one."""
        out.mkdir(parents=True, exist_ok=True)
        tensors = {f'model/{name}': p.detach() for name, p in self.model.trainable().items()}
        for name, p in self.model.trainable().items():
            tensors |= {f'optimizer/{key}/{name}': value for key, value in self.optimizer.state[p].items()}
        cpu = {name: value.to('cpu').contiguous() for name, value in tensors.items()}
        save_file(cpu, out / f'{CHECKPOINT}.tmp', metadata={'step': str(self.step), 'recipe': json.dumps(self.recipe)})
        with open(out / f'{CHECKPOINT}.tmp', 'rb') as file:
            os.fsync(file.fileno())
        os.replace(out / f'{CHECKPOINT}.tmp', out / CHECKPOINT)

    def resume(self, out: Path) -> bool:
        """Take up the checkpoint in `out`, if there is one."""
        if not (out / CHECKPOINT).is_file():
            return False
        with safe_open(out / CHECKPOINT, 'pt') as file:
            found, self.step = json.loads(file.metadata()['recipe']), int(file.metadata()['step'])
            self._check_recipe(out, found)
            self._note_other_length(found)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        for name, parameter in self.model.trainable().items():
            parameter.data.copy_(tensors[f'model/{name}'])
            self.optimizer.state[parameter] = self._optimizer_state(tensors, name)
        return True

    def _optimizer_state(self, tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
        """`step` stays on the CPU, as AdamW keeps it."""
        state = {key: tensors[f'optimizer/{key}/{name}'] for key in ('step', 'exp_avg', 'exp_avg_sq')}
        return {key: value if key == 'step' else value.to(self.model.device) for key, value in state.items()}

    def _note_other_length(self, found: dict[str, Any]) -> None:
        """A run may be made longer or shorter while it lasts: the cosine is of the new length, the recipe says so."""
        changes = list(found.get('changed', []))
        if found['steps'] != self.recipe['steps']:
            changes.append({'at_step': self.step, 'steps_before': found['steps'], 'steps_after': self.recipe['steps']})
        if changes:
            self.recipe['changed'] = changes

    def _check_recipe(self, out: Path, found: dict[str, Any]) -> None:
        changed = [f'{key}: {found.get(key)!r} there, {value!r} asked for' for key, value in self.recipe.items()
                   if key not in ('steps', 'changed') and found.get(key) != value]
        if changed:
            raise RunError(f"{out / CHECKPOINT} is of another recipe ({'; '.join(changed)}). Give another --out.")
