"""Checks `dict(type='Name', ...)` against what is registered and against the component's own constructor.

Some arguments come from the run and not from the config (a dataset's task, its root folder); they are never missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coinkit.config.kinds import describe, fits, literals
from coinkit.config.reading import Source
from coinkit.config.signatures import Signature, signature_of
from coinkit.errors import ConfigError, Problem, nearest, unknown
from coinkit.registry import REGISTRIES, Registry

SUPPLIED = {'dataset': frozenset({'task', 'root', 'on_bad_image'}), 'backbone': frozenset({'device'}),
            'strategy': frozenset({'device'})}
EXTRA_TYPES = {'strategy': ('auto',)}
BLOCKS = {'backbone': ('mini',), 'method': ('mini',)}  # keys of the config beside the component's own arguments


def registry_of(kind: str) -> Registry:
    """The registry of a kind of component."""
    return next(registry for registry in vars(REGISTRIES).values() if registry.name == kind)


def check_component(value: Any, kind: str, source: Source, key: str) -> Iterator[Problem]:
    """Problems of one component of the config."""
    registry = registry_of(kind)
    if '.mini.' in key and value in (None, {}):
        return
    if not isinstance(value, Mapping):
        yield Problem(source.where(key), f"given {value!r}, allowed: dict(type=...) of a {kind}.")
        return
    names = [*registry.names(), *EXTRA_TYPES.get(kind, ())]
    if 'type' not in value:
        if '.mini.' not in key:  # a mini block without a type changes single arguments of the task's component
            yield Problem(source.where(f'{key}.type'), f'missing; allowed: {", ".join(names)}.')
    elif value['type'] not in registry and value['type'] not in EXTRA_TYPES.get(kind, ()):
        yield unknown(source.where(f'{key}.type'), kind, value['type'], names)
    elif value['type'] in registry:
        yield from _check_arguments(value, kind, source, key)


def _check_arguments(value: Mapping[str, Any], kind: str, source: Source, key: str) -> Iterator[Problem]:
    registry, name = registry_of(kind), value['type']
    blocks = BLOCKS.get(kind, ())
    given = {each: item for each, item in value.items() if each != 'type' and each not in blocks}
    try:
        signature = signature_of(registry, name)
    except ImportError as error:
        yield Problem(source.where(f'{key}.type'), f"{kind} '{name}' cannot be imported: {error}.",
                      'Install what is missing; `coinkit doctor` lists it.')
        return
    except ConfigError as error:
        for problem in error.problems:
            yield Problem(source.where(f'{key}.type'), str(problem))
        return
    problems = [*_check_names(given, signature, kind, name, source, key),
                *_check_types(given, signature, source, key)]
    yield from problems
    for block in blocks:
        if isinstance(value.get(block), Mapping):
            other = value[block].get('type', name) != name  # another component brings all its arguments
            merged = {**({} if other else given), 'type': name, **value[block]}
            yield from check_component(merged, kind, source, f'{key}.{block}')
    if kind == 'metric' and not problems and registry.entry(name).provider == 'coinkit':
        yield from _try_metric(registry, value, source, key)


def _check_names(given: Mapping[str, Any], signature: Signature, kind: str, name: str, source: Source,
                 key: str) -> Iterator[Problem]:
    for each in given:
        if each not in signature.parameters and not signature.open:
            yield unknown(source.where(f'{key}.{each}'), f"argument of {kind} '{name}':", each, signature.parameters)
    for parameter in signature.parameters.values():
        if parameter.required and parameter.name not in given and parameter.name not in SUPPLIED.get(kind, ()):
            yield Problem(source.where(f'{key}.{parameter.name}'), f"missing: {kind} '{name}' needs it; allowed: "
                                                                   f'{describe(parameter.kind)}.')


def _check_types(given: Mapping[str, Any], signature: Signature, source: Source, key: str) -> Iterator[Problem]:
    for name, item in given.items():
        kind = signature.parameters[name].kind if name in signature.parameters else Any
        if not fits(item, kind):
            hint = nearest(item, literals(kind)) if isinstance(item, str) else ''
            yield Problem(source.where(f'{key}.{name}'),
                          f'given {item!r} ({type(item).__name__}), allowed: {describe(kind)}.', hint)


def _try_metric(registry: Registry, value: Mapping[str, Any], source: Source, key: str) -> Iterator[Problem]:
    """A built-in metric says itself which switches it allows; building one is cheap and needs no torch."""
    try:
        registry.build(value)
    except ConfigError as error:
        for problem in error.problems:
            yield Problem(source.where(key), str(problem))
