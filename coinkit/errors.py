"""Every error coinkit raises on purpose, and the one way a problem is worded.

A `Problem` names where (file: key), what was given, what is allowed, the nearest match and the cure. Checks collect
problems and raise them together, so a user mends a config once and not ten times.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class CoinkitError(Exception):
    """Base of all errors meant for users: shown without a traceback. `exit_code` 1 = failed, 2 = wrong usage or config."""

    exit_code = 1


class ConfigError(CoinkitError):
    """The configuration is wrong; holds every problem found."""

    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem] | str):
        if isinstance(problems, str):
            self.problems: tuple[Problem, ...] = (Problem('', problems),)
        else:
            self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        lines = [str(problem) for problem in self.problems]
        head = '' if len(lines) == 1 else f'{len(lines)} problems:\n'
        super().__init__(head + '\n'.join(lines if len(lines) == 1 else [f'  - {line}' for line in lines]))


class UnknownName(ConfigError):
    """A registry or a config key was asked for a name it does not have."""


class DataError(CoinkitError):
    """A data file or record cannot be used; the message names file and record."""


class BadImage(DataError):
    """An image is missing or cannot be decoded."""


class PluginError(ConfigError):
    """A plug-in cannot be imported, misspells a hook or claims a taken name."""


class RunError(CoinkitError):
    """A run cannot go on: a foreign work directory, a loss that is not finite..."""


class Interrupted(CoinkitError):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""

    exit_code = 130


@dataclass(frozen=True)
class Problem:
    """One thing wrong: `where` is `file: key`; `message` says what was given and what is allowed; `cure` what to do."""

    where: str
    message: str
    cure: str = ''

    def __str__(self) -> str:
        text = f'{self.where}: {self.message}' if self.where else self.message
        return f'{text} {self.cure}' if self.cure else text


def nearest(given: str, allowed: Sequence[str]) -> str:
    """`Did you mean 'x'?`, or nothing when no allowed name is near."""
    lowered = {name.lower(): name for name in reversed(list(allowed))}
    match = difflib.get_close_matches(str(given).lower(), list(lowered), n=1, cutoff=0.5)
    return f"Did you mean '{lowered[match[0]]}'?" if match else ''


def unknown(where: str, kind: str, given: str, allowed: Iterable[str]) -> Problem:
    """The problem 'unknown KIND', with the nearest match or the whole list."""
    names = sorted(allowed)
    hint = nearest(given, names)
    listed = ', '.join(names) if names else 'none'
    return Problem(where, f"unknown {kind} '{given}'.", f'{hint} Allowed: {listed}.'.strip())


def raise_problems(problems: Sequence[Problem]) -> None:
    """All of them at once, if there are any."""
    if problems:
        raise ConfigError(problems)
