"""A benchmark by itself: its tasks, where its files come from and where they lie, without a model or a method.

`coinkit data` works on benchmarks; a run's config is one with more around it. BENCHMARK is the name of a shipped
benchmark ('coin'), or any config: a path or a shipped name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from coinkit.config import load_plugins_of
from coinkit.config.benchmark_forms import write_out_benchmark
from coinkit.config.dump import make_plain
from coinkit.config.overrides import apply_options
from coinkit.config.reading import find_config, read, shipped_root, show_path
from coinkit.config.schema import Benchmark, Data, construct
from coinkit.config.task_keys import check_task_keys
from coinkit.config.validation import validate_sections
from coinkit.errors import ConfigError, Problem, nearest, unknown
from coinkit.plugins import PluginManager, current_plugins

BENCHMARKS = '_base_/benchmarks'


@dataclass(frozen=True)
class BenchmarkConfig:
    """What a config says of its data."""

    benchmark: Benchmark
    data: Data
    source: Path

    def chosen(self, names: Iterable[str]) -> BenchmarkConfig:
        """With the named tasks only."""
        names, by_name = list(names), {task.name: task for task in self.benchmark.tasks}
        wrong = [unknown('--tasks', 'task', name, by_name) for name in names if name not in by_name]
        if wrong:
            raise ConfigError(wrong)
        kept = tuple(task for task in self.benchmark.tasks if task.name in names)
        return BenchmarkConfig(Benchmark(**{**vars(self.benchmark), 'tasks': kept}), self.data, self.source)


def benchmark_names() -> list[str]:
    """The shipped benchmarks."""
    return sorted(path.stem for path in (shipped_root() / BENCHMARKS).glob('*.py'))


def find_benchmark(name: str | os.PathLike[str]) -> Path:
    """The file BENCHMARK means."""
    text = os.fspath(name)
    if text in benchmark_names():
        return (shipped_root() / BENCHMARKS / f'{text}.py').resolve()
    try:
        return find_config(text)
    except ConfigError as error:
        known = benchmark_names()
        raise ConfigError(Problem(text, 'there is no such benchmark, nor a config of that name.',
                                  f'{nearest(text, known)} Benchmarks: {", ".join(known)}; or give a config file.'.strip())
                          ) from error


def load_benchmark(name: str | os.PathLike[str], *, options: Iterable[str] = (),
                   plugins: PluginManager | None = None) -> BenchmarkConfig:
    """The valid `benchmark` and `data` of a config, with `key=value` overrides; every problem at once."""
    source = read(find_benchmark(name))
    source.tree = source.tree.to_dict()
    problems = [*make_plain(source), *apply_options(source, options), *write_out_benchmark(source)]
    manager = plugins or current_plugins()
    load_plugins_of(source, manager)
    manager.check_disabled()
    if 'benchmark' not in source.tree:
        problems.append(Problem(show_path(source.path), 'sets no benchmark.', f'Shipped: {", ".join(benchmark_names())}.'))
    problems = problems or validate_sections(source, {'benchmark': Benchmark, 'data': Data}) or [*check_task_keys(source)]
    if problems:
        raise ConfigError(problems)
    return BenchmarkConfig(construct(Benchmark, source.tree['benchmark']), construct(Data, source.tree.get('data', {})),
                           source.path)
