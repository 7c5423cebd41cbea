"""Checks a plug-in's hooks when it is registered: every function named `coinkit_*` must be a hook, with its arguments.

No decorator is needed, as in pytest; so a misspelt name is seen, and refused with the nearest match.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable
from typing import Any

import pluggy

from coinkit import hookspecs
from coinkit.errors import PluginError, Problem, nearest
from coinkit.plugins.sources import source_file


def trace(hook: str, name: str, arguments: Iterable[str]) -> None:
    """With COINKIT_TRACE=1, print a hook call and the plug-in that answers it to stderr."""
    if os.environ.get('COINKIT_TRACE', '') not in ('', '0'):
        sys.stderr.write(f'[coinkit] {hook} -> {name}({", ".join(arguments)})\n')


class HookValidator(pluggy.PluginManager):
    """A pluggy manager that takes every function named `coinkit_*` for a hook."""

    def __init__(self) -> None:
        super().__init__('coinkit')
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Options of a hook function, marked or not; None for anything else."""
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None or not name.startswith('coinkit_'):
            return options
        static = inspect.getattr_static(plugin, name)
        function = static.__func__ if isinstance(static, staticmethod | classmethod) else static
        is_hook = inspect.isfunction(function) or inspect.ismethod(function)
        return {} if is_hook and not hasattr(function, 'coinkit_spec') else None

    def admit(self, plugin: Any, name: str) -> None:
        """Register a plug-in, or say what is wrong with which of its hooks."""
        problems = [problem for attribute in dir(plugin) for problem in self._check_hook(plugin, name, attribute)]
        if problems:
            raise PluginError(problems)
        self.register(plugin, name)

    def _check_hook(self, plugin: Any, name: str, attribute: str) -> list[Problem]:
        options = self.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            return []
        function = getattr(plugin, attribute)
        where = f"plug-in '{name}' ({source_file(function)})"
        hook_name = options.get('specname') or attribute
        hook = getattr(self.hook, hook_name, None)
        if hook is None or not hook.has_spec():
            hooks = sorted(hook for hook in vars(self.hook) if getattr(self.hook, hook).has_spec())
            cure = f'{nearest(hook_name, hooks)} Allowed: {", ".join(hooks)}.'
            return [Problem(where, f"unknown hook '{hook_name}'.", cure.strip())]
        return _check_arguments(where, hook_name, function, list(hook.spec.argnames))


def _check_arguments(where: str, hook_name: str, function: Any, allowed: list[str]) -> list[Problem]:
    problems = []
    for argument in inspect.signature(function).parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            problems.append(Problem(where, f"hook '{hook_name}' takes no '{argument}'.",
                                    f'Name the arguments it needs, among: {", ".join(allowed)}.'))
        elif argument.name not in allowed and argument.default is argument.empty:
            cure = f'{nearest(argument.name, allowed)} Allowed: {", ".join(allowed)}.'
            problems.append(Problem(where, f"hook '{hook_name}' has no argument '{argument.name}'.", cure.strip()))
    return problems
