"""Six registries of components by name, filled lazily: `METHODS.add('EWC', 'coinkit_ewc.ewc:EWC')` imports nothing.

They are mmengine registries with two changes. A name is a name: mmengine imports any dotted string it does not know,
ours never does. And an unknown name is an error that tells the nearest match. Every entry remembers which plug-in
provided it, so two plug-ins that claim one name are both named.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

try:
    from mmengine.registry import Registry as MMEngineRegistry
except EOFError:  # its yapf writes a cache at the very first import, and another rank may be caught reading half of it
    time.sleep(1.0)
    from mmengine.registry import Registry as MMEngineRegistry

from coinkit.errors import ConfigError, PluginError, Problem, UnknownName, raise_problems, unknown

_BUILTINS = 'coinkit.builtins'  # imported by name at the first look-up: the built-in components come in like any others


@dataclass(frozen=True, slots=True)
class Provider:
    """Who registers: the plug-in's name and the file it came from."""

    name: str = '(this process)'
    file: str = ''


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered component, not imported yet. `target` is 'module:Class'."""

    name: str
    target: str
    provider: str
    file: str = ''
    alias_of: str = ''  # '' for a component's own name


_provider: ContextVar[Provider | None] = ContextVar('coinkit_provider', default=None)


@contextmanager
def providing(name: str, file: str = '') -> Iterator[None]:
    """Components added inside belong to the plug-in `name`."""
    token = _provider.set(Provider(name, file))
    try:
        yield
    finally:
        _provider.reset(token)


class Registry(MMEngineRegistry):
    """Components of one kind by name; classes are imported when first asked for.

    A `checked` registry builds nothing from arguments that the class's own `preflight` refuses.
    """

    def __init__(self, kind: str, *, checked: bool = False):
        super().__init__(kind, scope='coinkit', locations=[_BUILTINS])
        self._entries: dict[str, Entry] = {}
        self._checked = checked

    def add(self, name: str, target: str | type, *, provider: str | None = None, aliases: tuple[str, ...] = ()) -> None:
        """Register 'module:Class' (or a class) under a name; the same plug-in may say the same thing twice."""
        current = _provider.get() or Provider()
        owner = current if provider is None else Provider(provider, current.file)
        text = target if isinstance(target, str) else f'{target.__module__}:{target.__qualname__}'
        if text.count(':') != 1:
            raise PluginError(f"{self.name} '{name}' of plug-in '{owner.name}': given {text!r}, "
                              f"allowed 'package.module:Class'.")
        for each in (name, *aliases):
            self._claim(Entry(each, text, owner.name, owner.file, '' if each == name else name))
            if not isinstance(target, str):
                self._module_dict[each] = target

    def _claim(self, entry: Entry) -> None:
        if entry.provider != 'coinkit':
            self.import_from_location()  # so that a clash with a built-in is seen whatever comes first
        other = self._entries.get(entry.name)
        if other is not None and other.provider != entry.provider:
            raise PluginError(Problem(
                '', f"{self.name} '{entry.name}' is claimed by two plug-ins: '{other.provider}' ({_origin(other)}) "
                f"and '{entry.provider}' ({_origin(entry)}).",
                f"Rename one, or disable one with --no-plugin {entry.provider}."))
        if other is not None and other.target != entry.target:
            self._module_dict.pop(entry.name, None)
        self._entries[entry.name] = entry

    def get(self, key: str) -> type:
        """The class registered as `key`, imported now if it was not before."""
        entry = self.entry(key)
        if key not in self._module_dict:
            self._module_dict[key] = self._load(entry)
        return self._module_dict[key]

    def _load(self, entry: Entry) -> type:
        module_name, class_name = entry.target.split(':')
        where = f"{self.name} '{entry.name}' of plug-in '{entry.provider}'"
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise  # the component's module exists and misses a package of its own: its traceback says which
            raise PluginError(f"{where}: there is no module '{module_name}', given '{entry.target}'.") from error
        if not hasattr(module, class_name):
            names = [name for name in vars(module) if isinstance(getattr(module, name), type)]
            raise PluginError(unknown(where, f"class in '{module_name}'", class_name, names))
        return getattr(module, class_name)

    def build(self, cfg: Mapping[str, Any], **more: Any) -> Any:
        """Make the component that `dict(type='Name', **arguments)` describes."""
        arguments = {**cfg, **more}
        if 'type' not in arguments:
            raise ConfigError(Problem('', f"a {self.name} needs 'type'; given {dict(cfg)!r}.",
                                      f"Allowed: {', '.join(self.names())}."))
        cls = self.get(arguments.pop('type'))
        check_it = getattr(cls, 'preflight', None) if self._checked else None
        if check_it is not None:
            inspect.signature(cls).bind(**arguments)  # a name that it does not take is the constructor's error
            raise_problems(check_it(**arguments))
        return cls(**arguments)

    def entry(self, name: str) -> Entry:
        """What is registered under a name, without importing it."""
        self.import_from_location()
        if name not in self._entries:
            raise UnknownName(unknown('', self.name, name, self.names()))
        return self._entries[name]

    def names(self, *, aliases: bool = False) -> list[str]:
        """Registered names in alphabetical order."""
        self.import_from_location()
        return sorted(entry.name for entry in self._entries.values() if aliases or not entry.alias_of)

    def entries(self, *, provider: str | None = None) -> list[Entry]:
        """Everything registered, or what one plug-in provides."""
        self.import_from_location()
        return [entry for _, entry in sorted(self._entries.items()) if provider in (None, entry.provider)]

    def drop(self, provider: str) -> None:
        """Forget what a plug-in registered."""
        for name in [entry.name for entry in self._entries.values() if entry.provider == provider]:
            del self._entries[name]
            self._module_dict.pop(name, None)

    def import_from_location(self) -> None:
        """Register the built-in components at the first look-up."""
        if self._imported:
            return
        for registry in vars(REGISTRIES).values():
            registry._imported = True
        for location in self._locations:
            module = import_module(location)
            with providing('coinkit', module.__file__ or ''):
                module.coinkit_register(REGISTRIES)

    def _register_module(self, module: type, module_name: str | list[str] | None = None, force: bool = False) -> None:
        """mmengine's decorator `@METHODS.register_module()` comes through the same door."""
        names = [module_name or module.__name__] if not isinstance(module_name, list) else module_name
        for name in names:
            self.add(name, module)

    def __contains__(self, key: str) -> bool:
        self.import_from_location()
        return key in self._entries

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f'Registry({self.name}: {", ".join(self.names())})'


def _origin(entry: Entry) -> str:
    return entry.file or entry.target


BACKBONES = Registry('backbone')  # vision-language models: encode, forward, generate
METHODS = Registry('method', checked=True)  # continual-learning methods and other per-run plug-ins
DATASETS = Registry('dataset')  # records of a task
METRICS = Registry('metric')  # predictions -> score
STRATEGIES = Registry('strategy')  # one device, DDP, DeepSpeed
JUDGES = Registry('judge')  # LLM judges of reasoning

REGISTRIES = SimpleNamespace(BACKBONES=BACKBONES, METHODS=METHODS, DATASETS=DATASETS, METRICS=METRICS,
                             STRATEGIES=STRATEGIES, JUDGES=JUDGES)
