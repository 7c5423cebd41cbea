"""Rules between keys: names of tasks and orders, batch sizes that divide, seeds that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from coinkit.config.reading import Source
from coinkit.config.task_keys import check_task_keys
from coinkit.errors import Problem, unknown
from coinkit.types import Task


def check_rules(source: Source) -> Iterator[Problem]:
    """Problems between keys that are each right alone."""
    tree = source.tree
    names = [task['name'] for task in tree['benchmark']['tasks']]
    yield from _check_names(source, names)
    yield from check_task_keys(source)
    for order, listed in tree['benchmark'].get('orders', {}).items():
        yield from _check_task_list(source, f'benchmark.orders.{order}', listed, names)
    yield from _check_choice(source, names)
    yield from _check_batches(source)
    seeds = tree.get('seeds')
    if seeds is not None:
        yield from _check_twice(source, 'seeds', seeds)
        if not seeds:
            yield Problem(source.where('seeds'), 'given an empty list, allowed: whole numbers, or None for `seed`.')


def _check_names(source: Source, names: list[str]) -> Iterator[Problem]:
    slugs = Counter(Task(name, {}, {}, {}).slug for name in names)
    for number, name in enumerate(names):
        key = f'benchmark.tasks.{number}.name'
        if not name.strip():
            yield Problem(source.where(key), f'given {name!r}, allowed: a name.')
        elif slugs[Task(name, {}, {}, {}).slug] > 1 and name not in names[:number]:
            same = [other for other in names if Task(other, {}, {}, {}).slug == Task(name, {}, {}, {}).slug]
            if len(same) > 1 and same[0] == name:
                yield Problem(source.where(key), f'tasks of one name (or file name): {", ".join(same)}.',
                              'Give each task its own name.')


def _check_choice(source: Source, names: list[str]) -> Iterator[Problem]:
    tree = source.tree
    orders = tree['benchmark'].get('orders', {})
    order = tree.get('order')
    if isinstance(order, str) and order not in orders:
        yield unknown(source.where('order'), 'order', order, orders)
    elif order is not None and not isinstance(order, str):
        yield from _check_task_list(source, 'order', order, names)
    for name in tree.get('orders') or ():
        if name not in orders:
            yield unknown(source.where('orders'), 'order', name, orders)
    yield from _check_twice(source, 'orders', tree.get('orders') or ())
    if tree.get('orders') and order is not None:
        yield Problem(source.where('orders'), 'given together with `order`; allowed: one of them.')
    if tree.get('tasks') is not None:
        yield from _check_task_list(source, 'tasks', tree['tasks'], names)
        yield from _check_tasks_in_orders(source, tree['tasks'], tree.get('orders') or [order])


def _check_tasks_in_orders(source: Source, tasks: Iterable[str], chosen: Iterable[Any]) -> Iterator[Problem]:
    """An order may leave tasks out; `tasks` must not ask for those."""
    orders = source.tree['benchmark'].get('orders', {})
    for order in chosen:
        listed = orders.get(order) if isinstance(order, str) else order
        left_out = [name for name in tasks if listed is not None and name not in listed]
        if left_out:
            yield Problem(source.where('tasks'), f'{", ".join(left_out)} given; the order {order!r} leaves them out.',
                          'Leave them out here as well, or take another order.')


def _check_task_list(source: Source, key: str, listed: Iterable[str], names: list[str]) -> Iterator[Problem]:
    listed = list(listed)
    if not listed:
        yield Problem(source.where(key), f'given an empty list, allowed: names among {", ".join(names)}.')
    for name in listed:
        if name not in names:
            yield unknown(source.where(key), 'task', name, names)
    yield from _check_twice(source, key, listed)


def _check_twice(source: Source, key: str, listed: Iterable[Any]) -> Iterator[Problem]:
    for item, count in Counter(listed).items():
        if count > 1:
            yield Problem(source.where(key), f'{item!r} is given {count} times; allowed: once.')


def _check_batches(source: Source) -> Iterator[Problem]:
    schedule = source.tree['schedule']
    layers: list[tuple[str, Mapping[str, Any]]] = [('schedule', {}), ('schedule.mini', schedule.get('mini') or {})]
    layers += [(f'benchmark.tasks.{number}.schedule', task.get('schedule', {}))
               for number, task in enumerate(source.tree['benchmark']['tasks'])]
    for key, layer in layers:
        merged = {**schedule, **layer}
        whole, part = merged['global_batch_size'], merged['micro_batch_size']
        if (key == 'schedule' or {'global_batch_size', 'micro_batch_size'} & layer.keys()) and whole % part:
            yield Problem(source.where(f'{key}.micro_batch_size'), f'given {part}, allowed: a divisor of '
                                                                   f'global_batch_size = {whole}.')
