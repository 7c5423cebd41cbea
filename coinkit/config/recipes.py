"""Two short forms of a config, written out before anything else sees them: per-task schedules and `compat`.

`schedule.per_task` keeps a published recipe in one file: `{'ScienceQA': dict(global_batch_size=896)}` goes to that task's
own `schedule`, where the task's own keys win. `compat` switches back what a published number depends on; the released
hyper-parameters themselves stand in the shipped configs. A key that the run file or --cfg-options gives itself stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coinkit.config.reading import COMMAND_LINE, Source, show_path
from coinkit.config.signatures import signature_of
from coinkit.errors import Problem, unknown
from coinkit.registry import METRICS

_SHARED = {'projector_carry': 'upstream', 'schedule.loss_norm': 'microbatch'}  # all three: a re-initialised projector
_COIN = {'schedule.lr_schedule': 'warmup_log', 'schedule.grad_clip': 1.0, 'schedule.projector_lr': None}
COMPAT: dict[str, dict[str, Any]] = {
    'coin': {**_SHARED, **_COIN},
    'lcia': {**_SHARED, 'schedule.lr_schedule': 'cosine', 'schedule.grad_clip': 0.0, 'schedule.projector_lr': 2e-5},
    'mllm_cl': {**_SHARED, 'schedule.lr_schedule': 'cosine', 'schedule.grad_clip': 0.0, 'schedule.projector_lr': None}}
METHOD_COMPAT = {'lcia': {'MoELoRA': _COIN}}  # what runs with a method differ in: LCIA ran it with CoIN's scripts

_EMA = {'ema_init': 'after_first_step', 'ema_grad': 'upstream', 'ema_dtype': 'param', 'ema_missing_grad': 'upstream'}
_GROUPS = {'test_miss': 'upstream', 'group_empty': 'error'}  # `cia_chain='released'` knows one order of one benchmark
_EXPERTS = {'MoELoRA': {'moe_dropout': 'per_expert'}}
METHOD_SWITCHES: dict[str, dict[str, dict[str, Any]]] = {  # by `compat` and method
    'coin': _EXPERTS,
    'lcia': {**_EXPERTS, 'CIA': {**_EMA, **_GROUPS}, 'DynamicEMA': _EMA, 'InstructionGroups': _GROUPS},
    'mllm_cl': {**_EXPERTS, 'MRLoRA': {'router_parse': 'upstream', 'router_fallback': 'random'}}}


def spread_task_schedules(source: Source) -> Iterator[Problem]:
    """Move `schedule.per_task` into the tasks; tell tasks that do not exist."""
    schedule, benchmark = source.tree.get('schedule'), source.tree.get('benchmark')
    if not isinstance(schedule, Mapping) or 'per_task' not in schedule or not isinstance(benchmark, Mapping):
        return
    per_task, where = schedule.pop('per_task'), 'schedule.per_task'
    tasks = {task['name']: task for task in benchmark.get('tasks', []) if isinstance(task, Mapping) and 'name' in task}
    if not isinstance(per_task, Mapping):
        yield Problem(source.where(where), f'given {per_task!r}, allowed: a dict from task names to schedule keys.')
        return
    for name, overrides in per_task.items():
        if name not in tasks:
            yield unknown(source.where(f'{where}.{name}'), 'task', name, tasks)
        elif not isinstance(overrides, Mapping):
            yield Problem(source.where(f'{where}.{name}'), f'given {overrides!r}, allowed: a dict of schedule keys.')
        else:
            own = tasks[name].get('schedule') or {}
            tasks[name]['schedule'] = {**overrides, **own}


def apply_compat(source: Source) -> None:
    """Set the switches `compat` names, those of methods too, and every scorer that has a mode to 'upstream'."""
    name = source.tree.get('compat')
    if name is None:
        return
    keys = dict(COMPAT[name])
    for method in source.tree['methods']:
        keys.update(METHOD_COMPAT.get(name, {}).get(method['type'], {}))
    for key, value in keys.items():
        *above, last = key.split('.')
        section = source.tree
        for part in above:
            section = section[part]
        if last not in section or not _is_own(source, key):
            section[last] = value
    for number, method in enumerate(source.tree['methods']):
        source.tree['methods'][number] = {**METHOD_SWITCHES.get(name, {}).get(method['type'], {}), **method}
    for task in source.tree['benchmark']['tasks']:
        if 'mode' in signature_of(METRICS, task['metric']['type']).parameters:
            task['metric'] = {'mode': 'upstream', **task['metric']}


def _is_own(source: Source, key: str) -> bool:
    """Whether the user gave the key; a base's value is a recipe, which `compat` is there to switch back."""
    return source.file_of(key) in (COMMAND_LINE, show_path(source.path))
