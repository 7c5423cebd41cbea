"""JSON as `json.loads` reads it, but for a key that is there twice in one object: `json.loads` would drop one in silence."""

from __future__ import annotations

import json
from typing import Any


class TwiceInObject(ValueError):
    """A key occurs twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TwiceInObject(f'the key {twice!r} is there twice in one object')
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)
decode = DECODER.decode  # raises ValueError, and RecursionError for deep nesting
