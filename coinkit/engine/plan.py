"""`--dry-run`: what a run would do and need, and everything that is missing for it; no weights are loaded or trained.

The model is built on the meta device, where tensors have a shape and no content, so a 7B plan takes seconds and no memory.
What `init_from` names is read and put into that model as the run would do it, and refused in the same words.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from coinkit.config import RunConfig, variants
from coinkit.data.sampling import Mix
from coinkit.engine import builder, preflight
from coinkit.engine.datasets import StreamDatasets
from coinkit.engine.init_from import load_init
from coinkit.engine.launch import check_config
from coinkit.engine.processes import Launch
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir
from coinkit.engine.schedule import PhaseSchedule
from coinkit.engine.state import RunState
from coinkit.engine.strategies.one_device import OneDevice
from coinkit.errors import CoinkitError, ConfigError
from coinkit.registry import BACKBONES
from coinkit.types import Phase

GIB = 2**30
PIPE_WIDTH = 140  # columns where there is no terminal to ask


@dataclass(frozen=True)
class PlannedPhase:
    """One row of the plan."""

    stage: str
    phase: str
    num_samples: int  # rows in the phase's training set, replayed ones among them
    num_steps: int
    schedule: PhaseSchedule


def show_plan(config: RunConfig, folder: Path) -> int:
    """Print the plan; exit status 0 when the run could start, 2 when something is missing."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    names = [name for name, _ in variants(config)]
    console.print(f'config {config.name} -> {folder}' + (f' ({", ".join(names)})' if names != [''] else ''))
    missing: CoinkitError | None = _missing(config, folder)
    if missing is None:
        state = build_on_meta(config, folder)
        missing = _misfit(state)
    if missing is None:
        console.print(_phase_table(plan_phases(state)))
        _print_sizes(console, state)
        _print_evaluation(console, state)
        console.print('Ready: run the same command without --dry-run.')
        return 0
    console.print('Nothing can be trained yet:', style='bold')
    console.print(str(missing), markup=False, soft_wrap=True)
    return 2


def _missing(config: RunConfig, folder: Path) -> ConfigError | None:
    try:
        preflight.check_runs(config, folder)
        for name, each in variants(config):
            check_config(RunDir(folder / name), each)
    except ConfigError as error:
        return error
    return None


def _misfit(state: RunState) -> CoinkitError | None:
    """Why the run cannot start where `init_from` says; a run that has begun holds its start itself."""
    source, path = state.config.init_from, state.run.path
    if source is None or all(RunDir(path / name).has_begun() for name, _ in variants(state.config)):
        return None
    try:
        load_init(state, source)
    except CoinkitError as error:
        return error
    return None


def build_on_meta(config: RunConfig, folder: Path) -> RunState:
    """The run's state with a model that has no content."""
    strategy = OneDevice(device='cpu')
    stream = builder.resolve_stream(config)
    hooks = builder.build_hooks(config)
    backbone = BACKBONES.build(dict(config.backbone), device='meta')
    state = RunState(config=config, run=RunDir(folder), stream=stream, backbone=backbone, strategy=strategy, hooks=hooks,
                     reporter=Reporter(active=False),
                     datasets=StreamDatasets(stream, config.data, limit=config.evaluation.limit))
    claimed = hooks.first(builder.CLAIM, backbone=backbone, config=config)
    state.bank = None if claimed is None or claimed[1] is True else claimed[1]
    return state


def plan_phases(state: RunState) -> list[PlannedPhase]:
    """Phases of every task, as the methods plan them, with the rows that they will mix in."""
    rows = []
    for index in range(len(state.stream)) if builder.evaluates(state) != 'none' else ():
        state.index = index
        planned = state.hooks.first('coinkit_phases', state=state)
        for phase in planned[1] if planned is not None else [Phase()]:
            state.phase = phase
            mix = Mix(phase.samples if phase.samples is not None else state.train_samples())
            state.hooks.call('coinkit_plan_mix', state=state, mix=mix)
            schedule = PhaseSchedule.of(state.schedule(), phase.schedule)
            num_steps = schedule.num_steps(mix.own, taken=sum(count for _, count in mix.places))
            rows.append(PlannedPhase(state.stage_name, phase.name, len(mix), num_steps, schedule))
    return rows


def _phase_table(rows: list[PlannedPhase]) -> Table:
    table = Table(title='training')
    for column in ('stage', 'phase', 'samples', 'steps', 'global batch', 'micro batch', 'lr', 'schedule'):
        table.add_column(column, justify='left' if column in ('stage', 'phase', 'schedule') else 'right',
                         no_wrap=column in ('stage', 'phase'))
    for row in rows:
        schedule = row.schedule
        table.add_row(row.stage, row.phase, f'{row.num_samples:,}', f'{row.num_steps:,}', str(schedule.global_batch_size),
                      str(schedule.micro_batch_size), f'{schedule.lr:g}',
                      f'{schedule.lr_schedule}, {schedule.num_warmup(row.num_steps)} warm-up')
    table.add_row('total', '', '', f'{sum(row.num_steps for row in rows):,}', '', '', '', '', style='bold')
    return table


def _print_sizes(console: Console, state: RunState) -> None:
    trained = sum(p.numel() for p in state.trainable().values())
    total = sum(p.numel() for p in state.backbone.model.parameters())
    console.print(f'parameters: {total:,} in all, {trained:,} train ({100 * trained / max(total, 1):.2f} %), '
                  f'{4 * trained / GIB:.2f} GiB stored per stage')
    schedule = state.config.schedule
    found = state.backbone.estimate_bytes(
        training=True, trained_parameters=trained, micro_batch_size=schedule.micro_batch_size,
        gradient_checkpointing=schedule.gradient_checkpointing)
    parts = ', '.join(f'{name} {size / GIB:.1f}' for name, size in found.items() if name != 'total')
    console.print(f'memory per process, about: {found["total"] / GIB:.1f} GiB ({parts})')
    console.print(f'processes now: {Launch.from_environment().world_size}; strategy {dict(state.config.strategy)}')


def _print_evaluation(console: Console, state: RunState) -> None:
    count = len(state.stream)
    cells = {'seen': count * (count + 1) // 2, 'all': count * count, 'last': count}[state.config.evaluation.policy]
    cells = {'policy': cells, 'last': count, 'none': 0}[builder.evaluates(state)]
    zero = count if state.config.evaluation.zero_shot or builder.evaluates(state) == 'none' else 0
    sizes = [len(state.datasets.test(i)) for i in range(count)]
    console.print(f'evaluation: policy {state.config.evaluation.policy}, {cells} cells and {zero} zero-shot cells; '
                  f'test samples {sum(sizes):,} in all')
