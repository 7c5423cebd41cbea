"""Answers of a cell under way, one line per finished batch and one file per rank, so that a kill costs one batch.

The files carry the cell's signature: what other weights or questions answered is not read. Any number of processes may
continue what any other number began.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Answers = list[tuple[int, str]]


class PartialAnswers:
    """The unfinished answers beside a predictions file."""

    def __init__(self, path: Path, signature: str = ''):
        self.path, self.signature = path, signature

    def _files(self) -> list[Path]:
        return sorted(self.path.parent.glob(f'.{self.path.name}.part-*'))

    def read(self) -> dict[int, str]:
        """Answers of every whole line that belongs to this cell."""
        found: dict[int, str] = {}
        for file in self._files():
            # as bytes: text also splits at U+0085 and U+2028, which answers may hold
            for line in file.read_bytes().splitlines(keepends=True):
                if not line.endswith(b'\n'):
                    continue  # torn by a kill
                record = json.loads(line)
                if record['signature'] == self.signature:
                    found.update({int(index): text for index, text in record['answers']})
        return found

    @contextmanager
    def writer(self, rank: int) -> Iterator[Callable[[Answers], None]]:
        """Appends one batch per call."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.with_name(f'.{self.path.name}.part-{rank}')
        if file.exists():
            raw = file.read_bytes()
            with open(file, 'r+b') as handle:
                handle.truncate(raw.rfind(b'\n') + 1)  # a line torn by a kill
        with open(file, 'ab') as handle:

            def write(answers: Answers) -> None:
                line = json.dumps({'signature': self.signature, 'answers': answers}, ensure_ascii=False)
                handle.write(line.encode() + b'\n')
                handle.flush()

            yield write

    def remove(self, *, only_on: bool) -> None:
        """The cell is finished."""
        for file in self._files() if only_on else []:
            file.unlink()
