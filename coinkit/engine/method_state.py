"""Plug-ins' saved state put back into them; state that another version of a plug-in wrote is refused, by file and entry.

What a plug-in would save after loading has the entries that were loaded: that is what makes a resumed run the same run.
An entry that is missing, or that nobody takes, therefore shows without asking the plug-in what it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from coinkit.engine import blobs
from coinkit.errors import RunError

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

NAME = 'methods'  # of the files in a stage's or a checkpoint's folder
CURE = ('It was written by another version of the plug-in: go back to that version (environment.json of the run names it), '
        'or start anew with --fresh.')


def load(state: RunState, folder: Path) -> None:
    """Give every plug-in of the run what it saved in `folder`. Every rank must call."""
    for plugin, blob in _read(folder).items():
        where = f'{folder / NAME}.json: the state of {plugin}'
        try:
            state.hooks.call_one(plugin, 'coinkit_load_state_dict', state=state, blob=blob)
        except KeyError as error:
            raise RunError(f"{where} has no entry '{error.args[0]}', which it needs. {CURE}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise RunError(f'{where} is not in the form it expects ({type(error).__name__}: {error}). {CURE}') from error
        _check_entries(where, blob, state.hooks.call_one(plugin, 'coinkit_state_dict', state=state))


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = blobs.load(folder, NAME)
    except (KeyError, OSError, SafetensorError, ValueError) as error:
        raise RunError(f'{folder / NAME}.json (with {NAME}.safetensors): cannot be read ({type(error).__name__}: {error}). '
                       'It is damaged: put it back, or start anew with --fresh.') from error
    return found


def _check_entries(where: str, given: Any, taken: Any) -> None:
    """Compare the entries that were loaded with those the plug-in would now save."""
    if not isinstance(given, Mapping) or not isinstance(taken, Mapping):
        return  # a plug-in that has no state hook any more, or keeps something else than entries
    if lacking := sorted(taken.keys() - given.keys()):
        raise RunError(f'{where} has no {_named(lacking)}, which it needs. {CURE}')
    if unknown := sorted(given.keys() - taken.keys()):
        raise RunError(f'{where} has the {_named(unknown)}, which it does not know. {CURE}')


def _named(names: list[str]) -> str:
    return f"{'entry' if len(names) == 1 else 'entries'} {', '.join(map(repr, names))}"
