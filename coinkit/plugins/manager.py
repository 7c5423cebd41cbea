"""Finding plug-ins: built-ins, installed distributions (entry points in group `coinkit`), files and modules by hand.

All four come through one door: the object's hooks are checked, then its `coinkit_register` adds components. What each
plug-in is (version, file, hash, components) is recorded with every run. One set of plug-ins is loaded per process.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import coinkit
from coinkit.errors import PluginError, Problem, nearest
from coinkit.plugins.sources import (
    blaming,
    file_name,
    hash_source,
    import_plugin,
    module_version,
    resolve_file,
    source_file,
)
from coinkit.plugins.validator import HookValidator, trace
from coinkit.registry import REGISTRIES, providing

GROUP = 'coinkit'  # entry-point group of installed plug-ins
BUILTIN = 'coinkit'  # name of the built-in plug-in


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plug-in that takes part, and where it came from."""

    name: str
    plugin: Any
    version: str | None
    file: str
    source: str  # 'built-in', 'entry point', or the path or module as given


class PluginManager(HookValidator):
    """The plug-ins of this process and what they registered."""

    def __init__(self, *, disabled: Iterable[str] = (), entry_points: bool = True):
        super().__init__()
        self.disabled = tuple(disabled)
        self.loaded: list[Loaded] = []
        self._skipped: set[str] = set()
        if BUILTIN in self.disabled:
            raise PluginError(f'--no-plugin {BUILTIN}: the built-in plug-in cannot be disabled.')
        builtins = import_module('coinkit.builtins')
        self._admit(Loaded(BUILTIN, builtins, coinkit.__version__, source_file(builtins), 'built-in'))
        if entry_points:
            self._load_entry_points()

    def load(self, spec: str, *, folder: str | os.PathLike[str] | None = None) -> str:
        """Load 'path/to/file.py' (relative to `folder`, else to here) or a dotted module; returns its name."""
        path = resolve_file(spec, folder)
        name = spec if path is None else file_name(path)
        if self._is_disabled(name):
            return name
        if path is not None and any(loaded.file == str(path) for loaded in self.loaded):
            return next(loaded.name for loaded in self.loaded if loaded.file == str(path))
        cure = f'Mend it, take it out of `--plugin` or `plugins`, or disable it with --no-plugin {name}.'
        with providing(name, str(path or '')):
            with blaming(f"plug-in '{name}' ({path or spec})", 'it cannot be imported', cure):
                module = import_plugin(spec, path)
        for loaded in self.loaded:
            if loaded.plugin is module:
                return loaded.name
        self._admit(Loaded(name, module, module_version(module), source_file(module), spec))
        return name

    def _load_entry_points(self) -> None:
        for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
            if self._is_disabled(point.name) or any(loaded.source == point.value for loaded in self.loaded):
                continue
            distribution = point.dist.name if point.dist else point.value
            cure = f"Disable it with --no-plugin {point.name}, or uninstall '{distribution}'."
            where = f"plug-in '{point.name}' (entry point {point.value} of '{distribution}')"
            with providing(point.name), blaming(where, 'it cannot be imported', cure):
                plugin = point.load()
            version = point.dist.version if point.dist else None
            self._admit(Loaded(point.name, plugin, version, source_file(plugin), point.value))

    def _admit(self, loaded: Loaded) -> None:
        for other in self.loaded:
            if other.name == loaded.name:
                raise PluginError(f"two plug-ins are called '{loaded.name}': {other.file} and {loaded.file}. "
                                  'Rename one file, or take one out.')
        self.admit(loaded.plugin, loaded.name)
        self.loaded.append(loaded)
        register = getattr(loaded.plugin, 'coinkit_register', None)
        if register is not None:
            where, cure = f"plug-in '{loaded.name}' ({loaded.file})", f'Disable it with --no-plugin {loaded.name}.'
            with providing(loaded.name, loaded.file), blaming(where, 'its coinkit_register fails', cure):
                trace('coinkit_register', loaded.name, ('registries',))
                register(REGISTRIES)
        if not self.get_hookcallers(loaded.plugin) and not components_of(loaded.name):
            raise PluginError(f"plug-in '{loaded.name}' ({loaded.file}): it has no function named coinkit_* and "
                              'registers no component, so it would do nothing.')

    def _is_disabled(self, name: str) -> bool:
        if name in self.disabled:
            self._skipped.add(name)
        return name in self.disabled

    def check_disabled(self) -> None:
        """Refuse a `--no-plugin NAME` that named nothing; call it when everything is loaded."""
        names = [loaded.name for loaded in self.loaded]
        for name in sorted(set(self.disabled) - self._skipped):
            raise PluginError(Problem(f'--no-plugin {name}', 'there is no such plug-in.',
                                      f'{nearest(name, names)} Loaded: {", ".join(names)}.'.strip()))

    def observers(self) -> list[tuple[str, Any]]:
        """Loaded plug-ins with hooks beyond `coinkit_register`: they take part in every run."""
        def observes(plugin: Any) -> bool:
            return any(hook.name != 'coinkit_register' for hook in self.get_hookcallers(plugin) or ())

        return [(loaded.name, loaded.plugin) for loaded in self.loaded if observes(loaded.plugin)]

    def provenance(self) -> list[dict[str, Any]]:
        """What ran: name, version, file, SHA-256 of its Python files and the components it provides."""
        return [{'name': loaded.name, 'version': loaded.version, 'file': loaded.file, 'source': loaded.source,
                 'sha256': hash_source(loaded.file), 'components': components_of(loaded.name)}
                for loaded in self.loaded]

    def close(self) -> None:
        """Take back what the plug-ins registered (not the built-ins)."""
        for loaded in self.loaded:
            if loaded.name != BUILTIN:
                for registry in vars(REGISTRIES).values():
                    registry.drop(loaded.name)


def components_of(provider: str) -> dict[str, list[str]]:
    """Registered names by kind, aliases left out."""
    found = {registry.name: [entry.name for entry in registry.entries(provider=provider) if not entry.alias_of]
             for registry in vars(REGISTRIES).values()}
    return {kind: names for kind, names in found.items() if names}


_current: PluginManager | None = None


def load_plugins(specs: Iterable[str] = (), *, disabled: Iterable[str] = (),
                 entry_points: bool = True) -> PluginManager:
    """Load the process's plug-ins afresh: built-ins, entry points, then `specs` in order."""
    global _current
    if _current is not None:
        _current.close()
    _current = None
    manager = PluginManager(disabled=disabled, entry_points=entry_points)
    _current = manager  # before `specs`: what a failing one leaves behind is taken back by the next call
    for spec in specs:
        manager.load(spec)
    return manager


def current_plugins() -> PluginManager:
    """The process's plug-ins; built-ins and entry points when nobody asked for more."""
    return _current or load_plugins()
