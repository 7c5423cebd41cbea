"""The resolved config as text that reads back equal, and what differs between two configs.

`config.py` in a run directory states every key, defaults included, so that a later version of coinkit with other
defaults still continues the same run.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coinkit.config.reading import Source
from coinkit.config.schema import RunConfig
from coinkit.config.streams import resolve_stream
from coinkit.errors import Problem

_HARMLESS = ('work_dir', 'data.workers', 'checkpoint')  # they change neither what is learnt nor what is measured
_STREAM = ('benchmark.tasks', 'benchmark.orders', 'order', 'orders', 'tasks')  # compared as the stream they give
_OF_FILES = ('InstructionJson', 'RefCOCO')  # datasets that say where their files come from


def dump(config: RunConfig) -> str:
    """Python text of a config; `load_config` of it gives an equal config."""
    head = f'# Resolved by coinkit from {config.source.name}; it states every key, defaults included.\n'
    return head + ''.join(f'{key} = {_text(value, 0)}\n' for key, value in config.tree.items())


def _text(value: Any, indent: int) -> str:
    inner, outer = ' ' * (indent + 4), ' ' * indent
    flat = _flat(value)
    if len(flat) + indent <= 110 or not isinstance(value, Mapping | list) or not value:
        return flat
    if isinstance(value, list):
        return '[\n' + ''.join(f'{inner}{_text(each, indent + 4)},\n' for each in value) + outer + ']'
    if all(_is_keyword(name) for name in value):
        return 'dict(\n' + ''.join(f'{inner}{name}={_text(each, indent + 4)},\n'
                                   for name, each in value.items()) + outer + ')'
    lines = [f'{inner}{name!r}: {_text(each, indent + 4)},\n' for name, each in value.items()]
    return '{\n' + ''.join(lines) + outer + '}'


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return '[' + ', '.join(_flat(each) for each in value) + ']'
    if not isinstance(value, Mapping):
        return repr(value)
    if all(_is_keyword(name) for name in value):
        return 'dict(' + ', '.join(f'{name}={_flat(each)}' for name, each in value.items()) + ')'
    return '{' + ', '.join(f'{name!r}: {_flat(each)}' for name, each in value.items()) + '}'


def _is_keyword(name: Any) -> bool:
    # ASCII: Python reads other letters in a normalised form, a micro sign as a Greek mu
    return isinstance(name, str) and name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def make_plain(source: Source) -> list[Problem]:
    """Turn the tree into plain dicts and lists; tell what could not be written down and read back."""
    problems: list[Problem] = []

    def plain(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(each, f'{key}.{name}' if key else str(name)) for name, each in value.items()
                    if name != '_delete_'}  # mmengine leaves it where there was nothing to delete
        if isinstance(value, list | tuple):
            return [plain(each, f'{key}.{number}') for number, each in enumerate(value)]
        if isinstance(value, Path):
            return str(value)
        if not isinstance(value, str | int | float | None) or isinstance(value, float) and not math.isfinite(value):
            problems.append(Problem(source.where(key), f'given {value!r} ({type(value).__name__}), allowed: strings, '
                                                       'finite numbers, True, False, None, lists and dicts of them.'))
        return value

    source.tree = plain(source.tree, '')
    return problems


def diff(old: RunConfig, new: RunConfig) -> list[str]:
    """What changed between two configs, one line per key; tasks appended at the end are no change."""
    before, after = resolve_stream(old), resolve_stream(new)
    lines = []
    for number, task in enumerate(before):
        then = {field: _as_read(getattr(task, field)) for field in task.__slots__}
        now = {field: _as_read(getattr(after[number], field)) for field in task.__slots__} if number < len(after) else None
        lines += _differences(then, now, f'stream task {number + 1}')
    return [*lines, *_differences(_without(old.tree), _without(new.tree), '')]


def _as_read(given: Any) -> Any:
    """A dataset of files without what tells where to get them, and how large they are there."""
    if not isinstance(given, Mapping) or given.get('type') not in _OF_FILES:
        return given
    kept = {key: value for key, value in given.items() if key not in ('source', 'image_sources')}
    if isinstance(given.get('annotations'), Mapping):
        kept['annotations'] = {key: value for key, value in given['annotations'].items() if key != 'source'}
    return kept


def _without(tree: dict[str, Any]) -> dict[str, Any]:
    for key in (*_HARMLESS, *_STREAM):
        *above, last = key.split('.')
        section = tree
        for name in above:
            section = section[name]
        section.pop(last, None)
    return tree


def _differences(old: Any, new: Any, key: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}, key=str):
            yield from _differences(old.get(name), new.get(name), f'{key}.{name}' if key else str(name))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f'{key}.{number}')
    elif old != new:
        yield f'{key}: {old!r} -> {new!r}'
