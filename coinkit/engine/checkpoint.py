"""Checkpoints inside a task: by steps, by minutes, when asked to stop, and at the end of every phase.

A step checkpoint holds every trainable tensor and its optimizer state under the parameter's name, the plug-ins' state
and the position; learning rate, batch order and random numbers are functions of the position. It is a folder that
appears whole; the ledger's line comes after it, and only then is the previous one deleted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import Tensor

from coinkit import atomic
from coinkit.engine import adapters, blobs
from coinkit.engine.ledger import Ledger
from coinkit.errors import RunError

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

SEPARATOR = '::'  # between parameter name and optimizer key in optimizer.safetensors


class Checkpoints:
    """The checkpoints of one stage. `stage` is its folder name."""

    def __init__(self, state: RunState, ledger: Ledger, *, every_steps: int | None, every_minutes: float | None):
        self.state, self.ledger, self.stage = state, ledger, state.stage_name
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.folder = state.run.checkpoints(self.stage)
        self._saved_at = time.monotonic()

    # --- when ---------------------------------------------------------------------------------------------------

    def due(self, step: int) -> bool:
        """Whether this rank wants a checkpoint after `step`; ranks agree by asking all of them."""
        by_steps = bool(self.every_steps) and step % self.every_steps == 0
        by_time = bool(self.every_minutes) and time.monotonic() - self._saved_at >= 60 * self.every_minutes
        return by_steps or by_time

    # --- write --------------------------------------------------------------------------------------------------

    def save_step(self, phase_index: int, step: int, counters: Mapping[str, Any]) -> None:
        """Inside a phase, with the strategy prepared. Collective: every rank calls it."""
        state, name = self.state, f'{phase_index}-{self.state.phase.name}-{step:06d}'
        params = state.strategy.full_params()
        optimizer = state.strategy.optimizer_state(to_rank0=True)
        methods = state.method_state()
        if state.strategy.is_main:
            flat = {f'{p}{SEPARATOR}{key}': value for p, slots in optimizer.items() for key, value in slots.items()}
            with atomic.folder(self.folder / name) as folder:
                blobs.save_tensors(folder / 'trainable.safetensors', params)
                blobs.save_tensors(folder / 'optimizer.safetensors', flat)
                blobs.save(folder, 'methods', methods)
                blobs.save(folder, 'position', {'phase_index': phase_index, 'phase': state.phase.name, 'step': step,
                                                'counters': dict(counters)})
            self._record('step_saved', name, phase_index, step)
        self._saved_at = time.monotonic()
        state.strategy.barrier()

    def save_phase(self, phase_index: int, steps: int, counters: Mapping[str, Any]) -> None:
        """At the end of a phase, with the plain model. Collective: every rank calls it."""
        state, name = self.state, f'{phase_index}-{self.state.phase.name}-done'
        methods = state.method_state()
        if state.strategy.is_main:
            with atomic.folder(self.folder / name) as folder:
                adapters.save(state, folder / 'adapter')
                blobs.save(folder, 'methods', methods)
                blobs.save(folder, 'position', {'phase_index': phase_index + 1, 'phase': state.phase.name, 'step': 0,
                                                'counters': dict(counters)})
            trained = sum(parameter.numel() for parameter in state.trainable().values())
            self._record('phase_done', name, phase_index, steps, trained=trained)
        state.strategy.barrier()

    def _record(self, event: str, name: str, phase_index: int, step: int, **more: Any) -> None:
        self.ledger.append(event, stage=self.stage, folder=name, phase=phase_index, step=step, **more,
                           sha256=_hashes(self.folder / name))
        for other in self.folder.iterdir():
            done_before = other.name.endswith('-done') and not name.endswith('-done')
            if other.name != name and not done_before:
                atomic.remove(other)

    def clear(self) -> None:
        """The stage is finished: nothing of it will be resumed."""
        if self.state.strategy.is_main:
            atomic.remove(self.folder)

    # --- read ---------------------------------------------------------------------------------------------------

    def finished_phase(self) -> Path | None:
        """The folder of the last finished phase of this stage, if any."""
        return self._verified(self.ledger.last('phase_done', stage=self.stage))

    def inside(self, phase_index: int) -> Path | None:
        """The newest step checkpoint inside this phase, if any."""
        return self._verified(self.ledger.last('step_saved', stage=self.stage, phase=phase_index))

    def _verified(self, record: Mapping[str, Any] | None) -> Path | None:
        if record is None:
            return None
        path = self.folder / record['folder']
        if not path.exists():
            raise RunError(f'{path}: the ledger names this checkpoint and it is gone. Start anew with --fresh.')
        found = _hashes(path)
        for name in sorted(found.keys() | record['sha256'].keys()):
            if found.get(name) != record['sha256'].get(name):
                raise RunError(f'{path / name}: the content differs from what the ledger recorded. The file was changed '
                               'or damaged after it was written; start anew with --fresh.')
        return path

    def load_step(self, path: Path) -> dict[str, Any]:
        """Put a step checkpoint into the prepared strategy and the plug-ins; returns its position."""
        values = load_file(path / 'trainable.safetensors')
        self._check_names(path, values)
        self.state.strategy.set_full_params(values)
        optimizer: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(path / 'optimizer.safetensors').items():
            name, slot = key.split(SEPARATOR)
            optimizer.setdefault(name, {})[slot] = tensor
        self.state.strategy.load_optimizer_state(optimizer)
        self.state.load_method_state(path)
        return blobs.load(path, 'position')

    def load_phase(self, path: Path) -> dict[str, Any]:
        """Put the end of a finished phase into the plain model and the plug-ins; returns the position after it."""
        adapters.load(self.state, path / 'adapter')
        self.state.load_method_state(path)
        return blobs.load(path, 'position')

    def _check_names(self, path: Path, values: Mapping[str, Tensor]) -> None:
        expected = set(self.state.trainable())
        if expected != set(values):
            changed = sorted(expected ^ set(values))[:4]
            raise RunError(f'{path}: the trainable parameters differ from those of this run ({", ".join(changed)}...). '
                           'A plug-in changed since the run was started; go back to its version or use --fresh.')


def _hashes(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): atomic.sha256_file(file)
            for file in sorted(folder.rglob('*')) if file.is_file()}
