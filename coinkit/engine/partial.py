"""Answers of a cell under way, one line per finished batch and one file per rank, so that a kill costs one batch.

The files carry the cell's signature: what other weights or questions answered is not read. Any number of processes may
continue what any other number began. Beside the answers stands which of them were given without a usable picture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Answers = list[tuple[int, str]]
BadImages = Mapping[int, str]  # position -> what `on_bad_image` made of it
Write = Callable[[Answers, BadImages], None]


class PartialAnswers:
    """The unfinished answers beside a predictions file."""

    def __init__(self, path: Path, signature: str = ''):
        self.path, self.signature = path, signature

    def _files(self) -> list[Path]:
        return sorted(self.path.parent.glob(f'.{self.path.name}.part-*'))

    def read(self) -> dict[int, str]:
        """Answers of every whole line that belongs to this cell."""
        return {int(index): text for record in self._records() for index, text in record['answers']}

    def bad_images(self) -> dict[int, str]:
        """Those of the answers whose pictures could not be used, and what was done."""
        return {int(index): done for record in self._records() for index, done in record.get('bad_images', {}).items()}

    def _records(self) -> Iterator[dict[str, Any]]:
        for file in self._files():
            # as bytes: text also splits at U+0085 and U+2028, which answers may hold
            for line in file.read_bytes().splitlines(keepends=True):
                if not line.endswith(b'\n'):
                    continue  # torn by a kill
                record = json.loads(line)
                if record['signature'] == self.signature:
                    yield record

    @contextmanager
    def writer(self, rank: int) -> Iterator[Write]:
        """Appends one batch per call."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.with_name(f'.{self.path.name}.part-{rank}')
        if file.exists():
            raw = file.read_bytes()
            with open(file, 'r+b') as handle:
                handle.truncate(raw.rfind(b'\n') + 1)  # a line torn by a kill
        with open(file, 'ab') as handle:

            def write(answers: Answers, bad_images: BadImages) -> None:
                record: dict[str, Any] = {'signature': self.signature, 'answers': answers}
                record |= {'bad_images': bad_images} if bad_images else {}
                handle.write(json.dumps(record, ensure_ascii=False).encode() + b'\n')
                handle.flush()

            yield write

    def remove(self, *, only_on: bool) -> None:
        """The cell is finished."""
        for file in self._files() if only_on else []:
            file.unlink()
