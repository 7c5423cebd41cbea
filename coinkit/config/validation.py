"""Checks a merged config tree against `schema.py` and collects every problem, so a config is mended once.

Each problem reads `file: key: what was given, what is allowed, nearest match`. mmengine merges silently; a misspelt key
would otherwise change nothing and cost a night.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from coinkit.config import schema
from coinkit.config.components import check_component
from coinkit.config.kinds import describe, fits, literals
from coinkit.config.reading import Source
from coinkit.config.rules import check_rules
from coinkit.errors import Problem, nearest, unknown

_WORDS = {'low': 'at least', 'above': 'above', 'high': 'at most', 'below': 'below'}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    'low': lambda value, limit: value >= limit, 'above': lambda value, limit: value > limit,
    'high': lambda value, limit: value <= limit, 'below': lambda value, limit: value < limit}


def validate(source: Source) -> list[Problem]:
    """Everything wrong with a config."""
    checker = _Checker(source)
    problems = list(checker.section(source.tree, schema.RunConfig, ''))
    # rules relate keys to each other: they presume that each key alone is right
    return problems or list(check_rules(source))


def validate_sections(source: Source, sections: Mapping[str, type]) -> list[Problem]:
    """Everything wrong with single top-level sections of a config; one that is absent has its defaults."""
    checker = _Checker(source)
    return [problem for key, section in sections.items() if key in source.tree
            for problem in checker.section(source.tree[key], section, key)]


@lru_cache(maxsize=32)
def keys_of(section: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Keys of a section with their fields and types."""
    hints = get_type_hints(section)
    return {item.name: (item, hints[item.name]) for item in dataclasses.fields(section) if schema.is_public(item)}


@dataclass(frozen=True)
class _Checker:
    source: Source

    def section(self, value: Any, section: type, key: str) -> Iterator[Problem]:
        """Problems of one section and of everything below it."""
        if not isinstance(value, Mapping):
            yield self._wrong(key, value, f'dict({", ".join(keys_of(section))})')
            return
        known = keys_of(section)
        for name in value:
            if name not in known:
                cure = '' if key else ' A variable of the file itself starts with an underscore.'
                problem = unknown(self.source.where(_join(key, name)), 'key', name, known)
                yield dataclasses.replace(problem, cure=problem.cure + cure)
        for name, (item, kind) in known.items():
            if name in value:
                yield from self.field(value[name], item, kind, _join(key, name))
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                yield Problem(self.source.where(_join(key, name)), f'missing; allowed: {self._allowed(item, kind)}.')

    def field(self, value: Any, item: dataclasses.Field, kind: Any, key: str) -> Iterator[Problem]:
        """Problems of one key's value."""
        if _is_schedule(item, key):
            yield from self._schedule(value, key)
        elif 'kind' in item.metadata:
            yield from self._components(value, item, key)
        elif section := _section_in(kind, value):
            yield from self._sections(value, section, kind, key)
        elif not fits(value, kind):
            hint = nearest(value, literals(kind)) if isinstance(value, str) else ''
            yield self._wrong(key, value, self._allowed(item, kind), hint)
        elif not all(_in_range(each, item) for each in (value if isinstance(value, list | tuple) else [value])):
            yield self._wrong(key, value, self._allowed(item, kind))

    def _sections(self, value: Any, section: type, kind: Any, key: str) -> Iterator[Problem]:
        if get_origin(kind) is not tuple:
            yield from self.section(value, section, key)
        elif not isinstance(value, list | tuple) or not value:
            yield self._wrong(key, value, 'a list of dicts, at least one')
        else:
            for number, each in enumerate(value):
                yield from self.section(each, section, f'{key}.{number}')

    def _components(self, value: Any, item: dataclasses.Field, key: str) -> Iterator[Problem]:
        kind = item.metadata['kind']
        if key != 'methods':
            yield from check_component(value, kind, self.source, key)
        elif not isinstance(value, list | tuple) or not value:
            yield self._wrong(key, value, "a list such as [dict(type='FineTune')]")
        else:
            for number, each in enumerate(value):
                yield from check_component(each, kind, self.source, f'{key}.{number}')

    def _schedule(self, value: Any, key: str) -> Iterator[Problem]:
        """The run's schedule with its `mini` block, or overrides of single fields."""
        known = keys_of(schema.Schedule)
        whole, mini = key == 'schedule', key == 'schedule.mini'
        if not isinstance(value, Mapping):
            yield self._wrong(key, value, f'dict({", ".join(known)})')
            return
        if whole:
            if 'mini' in value:
                yield from self._schedule(value['mini'], 'schedule.mini')
            own = {name: each for name, each in value.items() if name != 'mini'}
            yield from self.section(own, schema.Schedule, key)
            return
        allowed = {**known, **(keys_of(schema.ScheduleMini) if mini else {})}
        for name, each in value.items():
            if name in allowed:
                yield from self.field(each, *allowed[name], _join(key, name))
            else:
                yield unknown(self.source.where(_join(key, name)), 'key', name, allowed)

    def _wrong(self, key: str, value: Any, allowed: str, hint: str = '') -> Problem:
        return Problem(self.source.where(key), f'given {_show(value)}, allowed: {allowed}.', hint)

    def _allowed(self, item: dataclasses.Field, kind: Any) -> str:
        if 'kind' in item.metadata:
            return f"dict(type=...) of a {item.metadata['kind']}"
        limits = [f'{_WORDS[name]} {limit:g}' for name, limit in item.metadata.get('bounds', {}).items()]
        section = _section_in(kind, {})
        words = f'dict({", ".join(keys_of(section))})' if section else describe(kind)
        return f'{words}, {" and ".join(limits)}' if limits else words


def _is_schedule(item: dataclasses.Field, key: str) -> bool:
    return key == 'schedule' or item.name in ('schedule', 'expert_schedule') and key.startswith('benchmark.')


def _section_in(kind: Any, value: Any) -> type | None:
    """The section class a type speaks of (itself, in a tuple, or optional with a value)."""
    if dataclasses.is_dataclass(kind):
        return kind
    inner = [each for each in get_args(kind) if dataclasses.is_dataclass(each)]
    return inner[0] if inner and value is not None else None


def _in_range(value: Any, item: dataclasses.Field) -> bool:
    limits = item.metadata.get('bounds', {})
    return value is None or all(_TESTS[name](value, limit) for name, limit in limits.items())


def _join(key: str, name: Any) -> str:
    return f'{key}.{name}' if key else str(name)


def _show(value: Any) -> str:
    text = repr(dict(value) if isinstance(value, Mapping) else value)
    return f'{text if len(text) <= 80 else text[:77] + "..."} ({type(value).__name__})'
