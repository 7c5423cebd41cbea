"""From a valid config to finished runs: preflight, processes, the run directory, one run per seed and order.

This is what `coinkit train` and `coinkit test` call.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.config import RunConfig, diff, dump, load_config, resolve_stream, variants
from coinkit.engine import environment, preflight
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.ledger import Ledger
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import REFUSED, RunDir, choose_stage
from coinkit.engine.runner import Runner
from coinkit.engine.strategies import make_strategy
from coinkit.errors import ConfigError, Interrupted, RunError, unknown


def work_dir(config: RunConfig, given: str | os.PathLike[str] | None = None) -> Path:
    return Path(given or config.work_dir or f'work_dirs/{config.name}')


def train(config: RunConfig, folder: Path, *, fresh: bool = False) -> bool:
    """Train and evaluate every variant of the config; run again, it continues. True on the process that may print."""
    runs = [(RunDir(folder / name), each) for name, each in variants(config)]
    with _processes(config) as (strategy, reporter, interrupt):
        if fresh:
            _move_aside(RunDir(folder), runs, strategy, reporter)
        preflight.check_runs(config, folder)
        for run, each in runs:
            with _opened(run, each, strategy) as ledger:
                reporter.say(f'run directory: {run.path}')
                runner = Runner(each, run, ledger, strategy=strategy, reporter=reporter, interrupt=interrupt)
                runner.train()
                ledger.append('run_done')
                if strategy.is_main:
                    write_report(runner)
            interrupt.check('this run is finished')
        strategy.barrier()  # nobody leaves the process group while the main process still writes its report
        return strategy.is_main


def _move_aside(old: RunDir, runs: list[tuple[RunDir, RunConfig]], strategy: Any, reporter: Reporter) -> None:
    """--fresh; the old run stays where it is when the new one could not start."""
    for _, each in runs:
        preflight.check(each)
    strategy.barrier()
    if strategy.is_main and (aside := old.move_aside()):
        reporter.say(f'--fresh: the old run is kept in {aside}')
    strategy.barrier()


def test(config: RunConfig, folder: Path, *, stage: str | None = None, tasks: list[str] | None = None) -> bool:
    """Fill the missing cells of one finished stage of every variant. True on the process that may print."""
    with _processes(config) as (strategy, reporter, interrupt):
        for name, each in variants(config):
            run = RunDir(folder / name)
            if not run.ledger.exists():
                raise RunError(f'{run.path}: there is no run here. Train first: coinkit train CONFIG --work-dir {folder}.')
            preflight.check(each, run)
            with _opened(run, each, strategy) as ledger:
                stream = resolve_stream(each)
                chosen = choose_stage(run, ledger, stage)
                names = [task.name for task in stream]
                wrong = [name for name in tasks or [] if name not in names]
                if wrong:
                    raise ConfigError([unknown('--tasks', 'task', name, names) for name in wrong])
                runner = Runner(each, run, ledger, strategy=strategy, reporter=reporter, interrupt=interrupt)
                positions = [names.index(name) for name in tasks] if tasks else list(range(len(stream)))
                runner.evaluate(int(chosen.split('-')[0]), positions)
                if strategy.is_main:
                    write_report(runner)
        strategy.barrier()  # nobody leaves the process group while the main process still writes its report
        return strategy.is_main


def write_report(runner: Runner) -> None:
    """forgetting.json, figures and report.html; plug-ins may add sections."""
    from coinkit.engine.builder import needs_task_id, uses_test_sets
    from coinkit.report.writer import write_report as write

    sections = [section for found in runner.state.hooks.call('coinkit_report_sections', run=runner.run).values()
                for section in found]
    flags = [f'{name} is told the task of every test sample.' for name in needs_task_id(runner.state)]
    flags += [f'{name} routes every test set as a whole: it uses test-set boundaries.'
              for name in uses_test_sets(runner.state)]
    write(runner.run.path, sections=sections, flags=flags)


@contextmanager
def _processes(config: RunConfig) -> Iterator[tuple[Any, Reporter, Interrupt]]:
    strategy = make_strategy(config.strategy, device=config.device)
    strategy.setup()
    try:
        with Interrupt() as interrupt:
            yield strategy, Reporter(active=strategy.is_main), interrupt
    finally:
        strategy.teardown()


@contextmanager
def _opened(run: RunDir, config: RunConfig, strategy: Any) -> Iterator[Ledger]:
    """The run directory claimed by this process group, its config checked against the one it was started with.

    A start that begins the run and is refused before its first step leaves nothing behind that would refuse the next one.
    """
    begins, ledger = False, None
    try:
        if strategy.is_main:
            begins = _lock(run, config)
            ledger = _claim(run, config, strategy.world_size)
        strategy.barrier()
        if ledger is None:
            ledger = run.open_ledger(writable=False)
        strategy.barrier()
        yield ledger
    except Exception as error:
        if begins and run.ledger.exists() and _is_refusal(error, run.open_ledger(writable=False)):
            run.open_ledger().append(REFUSED, why=str(error))
            run.undo()
        raise
    finally:
        run.unlock()


def _is_refusal(error: Exception, ledger: Ledger) -> bool:
    """Whether a run was ended by what it was given, with nothing trained; what cells it had are then not worth keeping.

    Errors of another kind may go away by themselves: what was measured by then is kept, and so is a stage under way.
    """
    if isinstance(error, Interrupted) or any(ledger.last(event) for event in ('step_saved', 'phase_done')):
        return False
    return isinstance(error, ConfigError) or not any(ledger.last(event) for event in ('stage_started', 'cell_scored'))


def _lock(run: RunDir, config: RunConfig) -> bool:
    """Lock the directory for a run of this config; whether the run begins now."""
    run.lock()
    run.sweep()
    if run.was_refused():
        run.undo()
    check_config(run, config)
    return not run.ledger.exists()


def _claim(run: RunDir, config: RunConfig, world_size: int) -> Ledger:
    ledger = run.open_ledger()
    described = environment.describe(config, world_size=world_size)
    if not run.environment.exists():
        atomic.write_json(run.environment, described)
    atomic.write_text(run.config, dump(config))
    ledger.append('run_started', **{key: described[key] for key in ('coinkit', 'command', 'world_size', 'strategy',
                                                                    'plugins')})
    return ledger


def check_config(run: RunDir, config: RunConfig) -> None:
    """A used directory continues the config it was started with; tasks may be appended."""
    if not run.config.exists() or run.was_refused():
        return
    changed = diff(load_config(run.config), config)
    if changed:
        listed = '\n'.join(f'  - {line}' for line in changed)
        raise ConfigError(f'{run.path} was started with another config:\n{listed}\n'
                          'Use another --work-dir, or --fresh to start anew (the old run is kept beside it).')
