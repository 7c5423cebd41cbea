"""How large things are: what a config says ('20.3 GB') as bytes, and bytes for people.

A size in a config is what its source publishes, of the archive to fetch where there is one: it is shown as 'about 20.3 GB',
never as measured.
"""

from __future__ import annotations

import re
from typing import Any

from coinkit.errors import ConfigError, Problem, unknown

UNITS = {'B': 1, 'kB': 10**3, 'MB': 10**6, 'GB': 10**9, 'TB': 10**12,
         'KiB': 2**10, 'MiB': 2**20, 'GiB': 2**30, 'TiB': 2**40}
_SIZE = re.compile(r'(\d+(?:\.\d+)?) ?([A-Za-z]+)')
_STEPS = ('B', 'kB', 'MB', 'GB', 'TB')


def wrong_size(where: str, given: Any) -> list[Problem]:
    """What is wrong with a size; an empty text says that it is not known."""
    if given == '':
        return []
    match = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if match is None or not float(match[1]):
        return [Problem(where, f"given {given!r}, allowed: a number above 0 and a unit, such as '20.3 GB' or '18 GiB'.")]
    return [] if match[2] in UNITS else [unknown(where, 'unit', match[2], UNITS)]


def bytes_of(text: str) -> int | None:
    """'20.3 GB' is 20,300,000,000; None for an empty text."""
    if problems := wrong_size('size', text):
        raise ConfigError(problems)
    match = _SIZE.fullmatch(text)
    return round(float(match[1]) * UNITS[match[2]]) if match else None


def measured(size: int | None) -> str:
    """Bytes that were counted: '226.1 MB'."""
    if size is None:
        return ''
    number, step = _stepped(size)
    return f'{number:.{step != "B":d}f} {step}'


def about(size: int | None) -> str:
    """Bytes that a source announces: 'about 226 MB'."""
    if size is None:
        return ''
    number, step = _stepped(size)
    return f'about {number:.3g} {step}'


def _stepped(size: float) -> tuple[float, str]:
    """Below 1000 of the largest step that fits, also when it is rounded to three digits."""
    for step in _STEPS:
        if size < 999.5 or step == _STEPS[-1]:
            return size, step
        size /= 1000
    raise AssertionError(size)
