"""`--mini`: the same run on the embedded backbone, the mini tasks and a schedule that fits them.

What stays is what the experiment is about: the methods, their number of experts, alpha/rank, the order of tasks and the
type of schedule. What is swapped stands in the base files' own `mini=dict(...)` blocks; what --cfg-options set stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coinkit.config.reading import COMMAND_LINE, Source
from coinkit.config.signatures import signature_of
from coinkit.errors import ConfigError, Problem
from coinkit.registry import METHODS

_TASK_PARTS = ('train', 'test', 'metric', 'generation', 'schedule')


def apply_mini(source: Source) -> None:
    """Swap the `mini` blocks in; every part without one is told at once.

    A config that says `mini = True` itself (every run directory's) was swapped before: its parts need no blocks.
    """
    tree = source.tree
    swapped = tree.get('mini') and source.origins.get('mini') != COMMAND_LINE
    problems = [*_swap_backbone(source), *_swap_tasks(source)]
    if problems and not swapped:
        raise ConfigError(problems)
    block = dict(tree['schedule'].pop('mini', None) or {})
    rank = block.pop('rank', None)
    undone = {*block, *({'epochs'} if 'steps' in block else ())}  # a task's own `epochs` would win over `steps`
    for name, value in block.items():
        _put(source, tree['schedule'], 'schedule', name, value, 'schedule.mini')
    for task in tree['benchmark']['tasks']:
        for name in undone:
            for part in ('schedule', 'expert_schedule'):
                task.get(part, {}).pop(name, None)  # a 7B override would undo the mini value
    if rank is not None:
        _write_out_fine_tune(tree)
    for number, method in enumerate(tree['methods']):
        _swap_method(source, method, f'methods.{number}', rank)
    tree['mini'] = True


def drop_mini(source: Source) -> None:
    """Without --mini the blocks have no say."""
    source.tree['schedule'].pop('mini', None)
    source.tree['backbone'].pop('mini', None)
    for method in source.tree['methods']:
        method.pop('mini', None)
    for task in source.tree['benchmark']['tasks']:
        task.pop('mini', None)


def _swap_backbone(source: Source) -> Iterator[Problem]:
    backbone = source.tree['backbone']
    block = backbone.pop('mini', None)
    if block is None and backbone.get('checkpoint') != 'mini':
        yield Problem(source.where('backbone.mini'), f"--mini: backbone '{backbone['type']}' has no mini block.",
                      "Add mini=dict(checkpoint='mini') to it.")
    source.tree['backbone'] = _merged(backbone, block or {})
    for name, value in (block or {}).items():
        source.claim(f'backbone.{name}', value, source.file_of('backbone'))


def _swap_tasks(source: Source) -> Iterator[Problem]:
    for number, task in enumerate(source.tree['benchmark']['tasks']):
        key = f'benchmark.tasks.{number}'
        block = task.pop('mini', None)
        if block is None and task['train'].get('type') != 'Mini':
            yield Problem(source.where(f'{key}.mini'), f"--mini: task '{task['name']}' has no mini block.",
                          "Add mini=dict(train=..., test=..., metric=...) to it, or leave it out with tasks=[...].")
        for part in _TASK_PARTS:
            if block and block.get(part):
                task[part] = _merged(task.get(part) or {}, block[part])


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A block with `type` of another component replaces; otherwise single keys change."""
    return dict(new) if 'type' in new and new['type'] != old.get('type') else {**old, **new}


def _write_out_fine_tune(tree: dict[str, Any]) -> None:
    """Methods that only add to others run around FineTune: it is written out, so that it gets the mini rank too."""
    if not any(hasattr(METHODS.get(method['type']), 'coinkit_prepare_model') for method in tree['methods']):
        tree['methods'].insert(0, {'type': 'FineTune'})


def _swap_method(source: Source, method: dict[str, Any], key: str, rank: int | None) -> None:
    """Put the method's own block in, and `rank` where that says none. alpha/rank stays, unless the block says an alpha."""
    own = method.pop('mini', None) or {}
    parameters = signature_of(METHODS, own.get('type', method['type'])).parameters
    old, alpha = (method.get(name, parameters[name].default) if name in parameters else None for name in ('rank', 'alpha'))
    block = {'rank': rank, **own} if rank is not None and isinstance(old, int) else dict(own)  # None: no LoRA here
    given = source.origins.get(f'{key}.rank') == COMMAND_LINE
    if 'rank' in block and isinstance(old, int) and isinstance(alpha, int | float) and not given:
        scaled = alpha * block['rank'] / old
        block = {'alpha': int(scaled) if scaled == int(scaled) else scaled, **block}
    for name, value in block.items():
        _put(source, method, key, name, value, f'{key}.mini' if {name, 'rank'} & own.keys() else 'schedule.mini')


def _put(source: Source, section: dict[str, Any], key: str, name: str, value: Any, said_by: str) -> None:
    if source.origins.get(f'{key}.{name}') == COMMAND_LINE:
        return
    section[name] = value
    source.claim(f'{key}.{name}', value, source.file_of(f'{said_by}.{name}'))
