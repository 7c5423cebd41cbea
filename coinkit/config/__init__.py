"""Configs: read, overridden, swapped to mini, validated, resolved to a typed `RunConfig`, and written down again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from coinkit.config.benchmark_forms import give_style, write_out_benchmark
from coinkit.config.dump import diff, dump, make_plain
from coinkit.config.mini import apply_mini, drop_mini
from coinkit.config.overrides import apply_options
from coinkit.config.reading import COMMAND_LINE, Source, find_config, read, shipped_names, shipped_root
from coinkit.config.recipes import apply_compat, spread_task_schedules
from coinkit.config.schema import (
    Benchmark,
    Checkpoint,
    Data,
    Evaluation,
    Generation,
    RunConfig,
    Schedule,
    TaskSection,
    construct,
)
from coinkit.config.streams import resolve_stream, variants
from coinkit.config.validation import validate
from coinkit.errors import ConfigError, Problem
from coinkit.plugins import PluginManager, current_plugins
from coinkit.plugins.sources import resolve_file

__all__ = ['Benchmark', 'Checkpoint', 'Data', 'Evaluation', 'Generation', 'RunConfig', 'Schedule', 'TaskSection',
           'diff', 'dump', 'find_config', 'load_config', 'resolve_stream', 'shipped_names', 'shipped_root', 'variants']


def load_config(name: str | os.PathLike[str], *, options: Iterable[str] = (), mini: bool = False,
                plugins: PluginManager | None = None) -> RunConfig:
    """The valid config of CONFIG (a path or a shipped name), or a ConfigError with every problem.

    `options` are `key=value` overrides; `mini` swaps the mini blocks in; the config's own `plugins` are loaded into
    `plugins` (default: the process's), because its types may come from them.
    """
    source = read(find_config(name))
    source.tree = source.tree.to_dict()
    problems = [*make_plain(source), *apply_options(source, options), *write_out_benchmark(source),
                *spread_task_schedules(source)]
    manager = plugins or current_plugins()
    load_plugins_of(source, manager)
    manager.check_disabled()
    give_style(source)
    _refuse([*problems, *validate(source)])
    if mini or source.tree.get('mini'):
        apply_mini(source)
        _refuse(validate(source))
    drop_mini(source)
    apply_compat(source)
    return replace(construct(RunConfig, source.tree), source=source.path)


def _refuse(problems: Iterable[Problem]) -> None:
    problems = list(problems)
    if problems:
        raise ConfigError(problems)


def load_plugins_of(source: Source, manager: PluginManager) -> None:
    """Load the config's plug-ins and write files as absolute paths, so that the dumped config finds them."""
    specs = source.tree.get('plugins') or []
    if not isinstance(specs, list) or not all(isinstance(spec, str) for spec in specs):
        return  # validation tells
    said_in = source.origins.get('plugins', '')
    folder = None if said_in == COMMAND_LINE else (Path.cwd() / said_in).parent
    for number, spec in enumerate(specs):
        manager.load(spec, folder=folder)
        path = resolve_file(spec, folder)
        specs[number] = spec if path is None else str(path)
