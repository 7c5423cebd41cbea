"""Compat switches of the scorers: each is 'upstream' (what the published evaluator does) or 'default' (what is right).

`mode` sets every switch of a scorer at once; a switch given by its own name wins over `mode`. The values in force are
stored with each score, so that a number can always be traced to its rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from coinkit.errors import ConfigError, unknown

Mode = Literal['default', 'upstream']
MODES = ('default', 'upstream')


def resolve(scorer: str, mode: str, more: Mapping[str, tuple[str, ...]] | None = None,
            **given: str | None) -> Mapping[str, str]:
    """The value of each switch: its own when given, else `mode`; `more` = further values that a switch knows."""
    more = more or {}
    allowed = {key: (*MODES, *more.get(key, ())) for key in ('mode', *given)}
    chosen = {'mode': mode, **{key: value for key, value in given.items() if value is not None}}
    problems = [unknown(f'metric {scorer}: {key}', 'mode', str(value), allowed[key])
                for key, value in chosen.items() if value not in allowed[key]]
    if problems:
        raise ConfigError(problems)
    return {key: mode if value is None else value for key, value in given.items()}
