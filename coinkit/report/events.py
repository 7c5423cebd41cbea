"""The ledger's lines, for those who only read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coinkit.errors import DataError


def read_events(path: Path) -> list[dict[str, Any]]:
    """The ledger's lines; a last one that a kill cut short is left out."""
    events = []
    for line in path.read_bytes().split(b'\n')[:-1] if path.exists() else []:
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise DataError(f'{path}: a line is not JSON ({error}).') from None
    return events
