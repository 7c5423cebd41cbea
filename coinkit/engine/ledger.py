"""The ledger: one append-only line per thing a run has finished, and what can be concluded from it on a restart.

A line is appended only after the file it speaks of is safely on disk. A line torn by a kill is the last one and has no
newline: it is cut off on opening. Everything a resumed run skips, it skips because a whole line here says so.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from coinkit.errors import RunError


class Ledger:
    """Read once when opened; `append` writes a line and remembers it. Only the main process may write."""

    def __init__(self, path: Path, *, writable: bool = True):
        self.path, self.writable = path, writable
        self.events: list[dict[str, Any]] = self._read() if path.exists() else []

    def _read(self) -> list[dict[str, Any]]:
        raw = self.path.read_bytes()
        whole = raw[:raw.rfind(b'\n') + 1]
        if len(whole) < len(raw) and self.writable:
            with open(self.path, 'r+b') as file:
                file.truncate(len(whole))
        events = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise RunError(f'{self.path}: line {number} is not JSON ({error}). The ledger was edited or damaged: '
                               'restore it, or start anew with --fresh.') from error
        return events

    def append(self, event: str, **fields: Any) -> None:
        record = {'event': event, **fields, 'time': round(time.time(), 3)}
        self.events.append(record)
        if not self.writable:
            return
        with open(self.path, 'ab') as file:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b'\n')
            file.flush()
            os.fsync(file.fileno())

    def last(self, event: str, **match: Any) -> dict[str, Any] | None:
        """The newest event of that name whose fields equal `match`."""
        for record in reversed(self.events):
            if record['event'] == event and all(record.get(key) == value for key, value in match.items()):
                return record
        return None

    def all(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.events if record['event'] == event]
