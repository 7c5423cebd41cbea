"""Which tasks a run trains on, in which order, and the runs that `seeds` and `orders` ask for."""

from __future__ import annotations

from dataclasses import replace

from coinkit.config.schema import RunConfig
from coinkit.types import Task


def resolve_stream(config: RunConfig) -> tuple[Task, ...]:
    """The run's tasks: the benchmark's (or `order`'s) sequence, kept to `tasks` where given."""
    tasks = {section.name: section.task() for section in config.benchmark.tasks}
    order = config.order
    names = config.benchmark.orders[order] if isinstance(order, str) else order if order is not None else tuple(tasks)
    return tuple(tasks[name] for name in names if config.tasks is None or name in config.tasks)


def variants(config: RunConfig) -> list[tuple[str, RunConfig]]:
    """(folder below the run, config) for each order and seed; `[('', config)]` when there is one run only."""
    runs = [('', config)]
    if config.orders:
        runs = [(f'order-{name}', replace(config, order=name, orders=None)) for name in config.orders]
    if config.seeds:
        runs = [(f'{folder}/seed-{seed}'.lstrip('/'), replace(each, seed=seed, seeds=None))
                for folder, each in runs for seed in config.seeds]
    return runs
