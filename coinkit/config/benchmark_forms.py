"""Short forms of a benchmark, written out before anything else sees them: `folder`, `per_task` and `style`.

A task `dict(folder='birds', metric=...)` is the two files of a folder. `benchmark.per_task` changes single keys of
tasks by name, from a run file or the command line, where a list could only be replaced whole. `benchmark.style` chooses
among `benchmark.styles`, which give words for the paths and arguments of tasks and downloads: `{style}` is the style
itself, `{folder}` what the style says of `folder`; a list of words makes a list of paths, tried in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import PurePosixPath
from typing import Any

from coinkit.config.reading import Source
from coinkit.config.signatures import signature_of
from coinkit.errors import CoinkitError, Problem, unknown
from coinkit.registry import METHODS

_COMPONENTS = ('train', 'test', 'metric')  # one of another type replaces; otherwise single keys change


def write_out_benchmark(source: Source) -> Iterator[Problem]:
    """Write the short forms out; what has a wrong shape is left to validation."""
    benchmark = source.tree.get('benchmark')
    tasks = benchmark.get('tasks') if isinstance(benchmark, Mapping) else None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        return
    for number, task in enumerate(tasks):
        yield from _folder(source, task, f'benchmark.tasks.{number}')
    yield from _per_task(source, benchmark, {task.get('name'): task for task in tasks})
    yield from _style(source, benchmark)


def _folder(source: Source, task: dict[str, Any], key: str) -> Iterator[Problem]:
    if 'folder' not in task:
        return
    folder = task.pop('folder')
    if not isinstance(folder, str) or not folder:
        yield Problem(source.where(f'{key}.folder'), f'given {folder!r}, allowed: a folder below data.root.')
        return
    task.setdefault('name', PurePosixPath(folder).name)
    for split in ('train', 'test'):
        task.setdefault(split, {'type': 'Folder', 'path': folder, 'split': split})
    task.setdefault('mini', {})  # --mini keeps the data


def _per_task(source: Source, benchmark: dict[str, Any], tasks: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    given, where = benchmark.pop('per_task', None), 'benchmark.per_task'
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield Problem(source.where(where), f'given {given!r}, allowed: a dict from task names to keys of the task.')
        return
    for name, changes in given.items():
        if name not in tasks:
            yield unknown(source.where(f'{where}.{name}'), 'task', name, filter(None, tasks))
        elif not isinstance(changes, Mapping) or 'name' in changes:
            yield Problem(source.where(f'{where}.{name}'), f'given {changes!r}, allowed: a dict of a task\'s keys, not its '
                                                           'name.')
        else:
            for part, value in changes.items():
                tasks[name][part] = changed(tasks[name].get(part), value, replaces=part in _COMPONENTS)


def changed(old: Any, new: Any, *, replaces: bool) -> Any:
    """`new` over `old`, key by key at every depth; a component of another type replaces the old one."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if replaces and new.get('type', old.get('type')) != old.get('type'):
        return dict(new)
    return {**old, **{name: changed(old.get(name), each, replaces=False) for name, each in new.items()}}


def _style(source: Source, benchmark: dict[str, Any]) -> Iterator[Problem]:
    """Fill the chosen style's words into the tasks; a benchmark already written out only says its style."""
    styles, style = benchmark.pop('styles', None), benchmark.get('style')
    where = source.where('benchmark.style')
    if styles is None:
        tasks_of = source.file_of('benchmark.tasks')
        if style is not None and source.file_of('benchmark.style') != tasks_of:
            yield Problem(where, f'given {style!r}; the tasks of {tasks_of} come in one style only.', 'Leave it out.')
        return
    if not isinstance(styles, Mapping) or not styles or not all(isinstance(words, Mapping) for words in styles.values()):
        yield Problem(source.where('benchmark.styles'), f'given {styles!r}, allowed: a dict from styles to dicts of words.')
        return
    style = benchmark['style'] = next(iter(styles)) if style is None else style
    if style not in styles:
        yield unknown(where, 'style', str(style), styles)
        return
    words = {'style': style, **styles[style]}
    listed = {name: [each] if isinstance(each, str) else list(each) for name, each in words.items()}
    for part in ('tasks', 'downloads'):
        if part in benchmark:
            benchmark[part] = _filled(benchmark[part], listed)


def _filled(value: Any, words: Mapping[str, list[str]]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(each, words) for name, each in value.items()}
    if isinstance(value, list):
        found = [_filled(each, words) for each in value]
        return [one for each, old in zip(found, value, strict=True)
                for one in (each if isinstance(each, list) and isinstance(old, str) else [each])]
    if not isinstance(value, str):
        return value
    used = [name for name in words if f'{{{name}}}' in value]
    found = []
    for chosen in product(*(words[name] for name in used)):
        text = value
        for name, word in zip(used, chosen, strict=True):
            text = text.replace(f'{{{name}}}', word)
        found.append(text)
    return found[0] if len(found) == 1 else found


def give_style(source: Source) -> None:
    """Methods that depend on the instruction style take the benchmark's, unless they say one."""
    benchmark, methods = source.tree.get('benchmark'), source.tree.get('methods')
    style = benchmark.get('style') if isinstance(benchmark, Mapping) else None
    for method in methods if isinstance(style, str) and isinstance(methods, list) else ():
        if not isinstance(method, dict) or 'style' in method or method.get('type') not in METHODS:
            continue
        try:
            parameters = signature_of(METHODS, method['type']).parameters
        except (ImportError, CoinkitError):
            continue  # validation tells
        if 'style' in parameters and parameters['style'].default != style:
            method['style'] = style
