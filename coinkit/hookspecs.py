"""Every hook of coinkit, one sentence each.

A plug-in is any object whose functions or methods carry these names (decorated with `coinkit.hookimpl` only where options
are needed). A *method* is such an object, built from the config for one run; loggers and trackers are the same kind of
object. Hooks run in list order; a hook that nobody implements costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from coinkit.types import Cell, Phase, Query

hookspec = pluggy.HookspecMarker('coinkit')
hookimpl = pluggy.HookimplMarker('coinkit')


@hookspec
def coinkit_register(registries: Any) -> None:
    """Add components by name: `registries.METHODS.add('EWC', 'coinkit_ewc.ewc:EWC')`."""


@hookspec(firstresult=True)
def coinkit_prepare_model(backbone: Any, config: Mapping[str, Any]) -> Any:
    """Insert the adapter bank and choose what trains; return the bank, or `True` when none is used."""


@hookspec
def coinkit_begin_task(state: Any) -> None:
    """Grow, freeze, swap or re-initialise before a task's first step; on resume again, with the same random numbers."""


@hookspec(firstresult=True)
def coinkit_phases(state: Any) -> Sequence[Phase] | None:
    """Say which training phases the task has; default one, `fit`; an empty list trains nothing."""


@hookspec
def coinkit_mix_samples(state: Any, mix: Any) -> None:
    """Add replayed or auxiliary samples to `mix` before a phase's loader is built."""


@hookspec
def coinkit_plan_mix(state: Any, mix: Any) -> None:
    """Add to `mix`, for `--dry-run`, as many rows as `coinkit_mix_samples` will, with `range(n)` for n rows."""


@hookspec
def coinkit_loss_terms(state: Any, batch: Any, output: Any) -> Mapping[str, Any] | None:
    """Return named scalars to add to the micro-batch's loss (averaged over micro-batches and ranks)."""


@hookspec
def coinkit_before_step(state: Any) -> None:
    """Read or replace the accumulated, rank-averaged, unclipped gradients before the optimizer steps."""


@hookspec
def coinkit_after_step(state: Any) -> None:
    """Act on the parameters after the optimizer stepped (EMA...), without a device sync."""


@hookspec
def coinkit_end_task(state: Any) -> None:
    """Book-keep after the last phase and before the adapter is saved; data passes go through `state.each_batch`."""


@hookspec(firstresult=True)
def coinkit_route(state: Any, queries: Sequence[Query]) -> Sequence[str] | None:
    """Name the stage adapter (`01-scienceqa`) that answers each query of a test set; None = the current adapter."""


@hookspec
def coinkit_state_dict(state: Any) -> Mapping[str, Any]:
    """Return what resuming inside a phase needs: tensors, numbers, strings, nested dicts and lists of them."""


@hookspec
def coinkit_load_state_dict(state: Any, blob: Mapping[str, Any]) -> None:
    """Take back what `coinkit_state_dict` returned."""


@hookspec
def coinkit_log(state: Any, record: Mapping[str, Any]) -> None:
    """Observe a log record (step, loss, lr, grad_norm, named loss terms...)."""


@hookspec
def coinkit_cell_scored(state: Any, cell: Cell) -> None:
    """Observe a scored cell of the matrix."""


@hookspec
def coinkit_report_sections(run: Any) -> Sequence[tuple[str, str]]:
    """Add (title, HTML) sections to the run's report."""
