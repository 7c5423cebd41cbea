"""Calling the hooks of one run: methods and observers in LIST order, results kept under each plug-in's name.

pluggy runs implementations last-in-first-out and returns bare results; methods compose (`methods=[Replay, OLoRA]`),
so order and names matter here. What is marked `hookimpl(tryfirst=True)` or `trylast=True` goes before or behind the others.
Which hooks are implemented is known beforehand: an empty hook costs one look-up.
With COINKIT_TRACE=1 every call is printed to stderr with the plug-ins that answer it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from coinkit.errors import PluginError
from coinkit.plugins.sources import source_file
from coinkit.plugins.validator import HookValidator, trace

Call = tuple[str, Callable[..., Any], tuple[str, ...]]  # plug-in, function, the arguments it names


class RunHooks:
    """The hooks of one run. Two plug-ins of one name become 'EWC' and 'EWC-2'."""

    def __init__(self, plugins: Sequence[tuple[str, Any]]):
        validator = HookValidator()
        self.plugins: dict[str, Any] = {}
        found: dict[str, list[tuple[int, Call]]] = {}  # by hook, with their places: -1 first, 1 last, 0 between
        self._known = {name: set(hook.spec.argnames) for name, hook in vars(validator.hook).items()}
        self._trace = os.environ.get('COINKIT_TRACE', '') not in ('', '0')
        for name, plugin in plugins:
            name = self._free_name(name)
            validator.admit(plugin, name)
            self.plugins[name] = plugin
            for hook, place, call in self._hooks_of(validator, plugin, name):
                found.setdefault(hook, []).append((place, call))
        self._calls = {hook: [call for _, call in sorted(placed, key=lambda one: one[0])] for hook, placed in found.items()}

    def _free_name(self, name: str) -> str:
        number = 1
        while (free := name if number == 1 else f'{name}-{number}') in self.plugins:
            number += 1
        return free

    def _hooks_of(self, validator: HookValidator, plugin: Any, name: str) -> Iterator[tuple[str, int, Call]]:
        for attribute in dir(plugin):
            options = validator.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                continue
            function = getattr(plugin, attribute)
            if options.get('wrapper') or options.get('hookwrapper'):
                raise PluginError(f"plug-in '{name}' ({source_file(function)}): '{attribute}' is a hook wrapper; the "
                                  'hooks of a run are called one after the other, in list order.')
            hook = options.get('specname') or attribute
            wanted = tuple(arg for arg in inspect.signature(function).parameters if arg in self._known[hook])
            yield hook, bool(options.get('trylast')) - bool(options.get('tryfirst')), (name, function, wanted)

    def has(self, hook: str) -> bool:
        """Does any plug-in implement this hook?"""
        assert hook in self._known, hook
        return hook in self._calls

    def implementers(self, hook: str) -> list[str]:
        """Names of the plug-ins that implement a hook, in the order of their calls."""
        assert hook in self._known, hook
        return [name for name, _, _ in self._calls.get(hook, ())]

    def call(self, hook: str, **arguments: Any) -> dict[str, Any]:
        """Call a hook on every plug-in; results by plug-in name, None left out."""
        results = {name: self._run(hook, name, function, wanted, arguments)
                   for name, function, wanted in self._calls.get(hook, ())}
        return {name: result for name, result in results.items() if result is not None}

    def first(self, hook: str, **arguments: Any) -> tuple[str, Any] | None:
        """Call plug-ins in order until one gives a result."""
        for name, function, wanted in self._calls.get(hook, ()):
            result = self._run(hook, name, function, wanted, arguments)
            if result is not None:
                return name, result
        return None

    def call_one(self, name: str, hook: str, **arguments: Any) -> Any:
        """Call a hook on one plug-in; None when it does not implement it."""
        for each, function, wanted in self._calls.get(hook, ()):
            if each == name:
                return self._run(hook, name, function, wanted, arguments)
        return None

    def _run(self, hook: str, name: str, function: Callable[..., Any], wanted: tuple[str, ...],
             arguments: dict[str, Any]) -> Any:
        if self._trace:
            trace(hook, name, wanted)
        try:
            return function(**{key: arguments[key] for key in wanted})
        except Exception as error:
            error.add_note(f"in hook '{hook}' of plug-in '{name}' ({source_file(function)})")
            raise
