"""Everything that can be known to fail is found before the first step, all of it at once, each with its cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coinkit.config import RunConfig, resolve_stream, variants
from coinkit.engine.builder import claim_problems
from coinkit.engine.datasets import StreamDatasets
from coinkit.engine.init_from import init_problems
from coinkit.engine.run_dir import RunDir
from coinkit.engine.strategies import resolve
from coinkit.errors import ConfigError, Problem
from coinkit.registry import BACKBONES, METHODS, METRICS, STRATEGIES, Registry

TRY_MINI = Problem('', 'Weights or data are missing.',
                   'To try this config without any, on the embedded mini model and tasks: add --mini.')


def check(config: RunConfig, run: RunDir | None = None) -> None:
    """Raise one ConfigError with every problem of a run; `run` = the directory it will be written to."""
    missing = [*component_problems(BACKBONES, config.backbone, 'backbone'), *data_problems(config)]
    problems = [problem for method in config.methods for problem in component_problems(METHODS, method, 'methods')]
    problems += claim_problems(config)
    problems += component_problems(STRATEGIES, resolve(config.strategy), 'strategy')
    for task in resolve_stream(config):
        problems += component_problems(METRICS, task.metric, f'{task.name}: metric')
    if run is not None and run.has_begun():
        config = replace(config, init_from=None)  # it holds its start itself; the source may have changed or be gone
    if config.init_from:
        problems += init_problems(config.init_from)
    if not problems and not missing:
        problems += method_problems(config)
    if run is not None:
        problems += run.check_usable()
    if missing and not config.mini:
        missing.append(TRY_MINI)
    if problems or missing:
        raise ConfigError([*problems, *missing])


def check_runs(config: RunConfig, folder: Path) -> None:
    """`check` for every run that the config asks for in `folder`: one, or one per seed and order."""
    runs = [(RunDir(folder / name), each) for name, each in variants(config)]
    if problems := RunDir(folder).check_parent_of([run.path for run, _ in runs]):
        raise ConfigError(problems)
    for run, each in runs:
        check(each, run)


def method_problems(config: RunConfig) -> list[Problem]:
    """What methods find wrong with the run as a whole, its data and its tasks: their `preflight_run`."""
    datasets = StreamDatasets(resolve_stream(config), config.data)
    problems = []
    for method in config.methods:
        arguments = dict(method)
        check_it = getattr(METHODS.get(arguments.pop('type')), 'preflight_run', None)
        problems += check_it(config, datasets, **arguments) if check_it is not None else []
    return list(dict.fromkeys(problems))  # a method listed twice says everything twice


def data_problems(config: RunConfig) -> list[Problem]:
    """Missing or malformed data files of the whole stream."""
    return StreamDatasets(resolve_stream(config), config.data).preflight()


def component_problems(registry: Registry, component: Mapping[str, Any], where: str) -> list[Problem]:
    """What a component's own `preflight` says; components without one are fine."""
    arguments = dict(component)
    check_it = getattr(registry.get(arguments.pop('type')), 'preflight', None)
    if check_it is None:
        return []
    return [problem if problem.where else Problem(where, problem.message, problem.cure)
            for problem in check_it(**arguments)]
