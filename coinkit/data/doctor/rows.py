"""Every row of one file, looked at once: how many, which pictures they name, what is wrong, what occurs twice.

Rows are found by the index's own scan and parsed in chunks on several processes; what is kept of a row is three 64-bit
hashes. Nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coinkit.data.doctor.findings import EXAMPLES
from coinkit.data.doctor.needs import Look
from coinkit.data.doctor.work import Bar, in_processes
from coinkit.data.scan import find_records
from coinkit.types import Dataset

CHUNK_ROWS = 10_000
SPREAD_FROM = 30_000  # rows; below, other processes start more slowly than the work is done


@dataclass
class Rows:
    """What a file's rows told. Hashes are in file order: of the id, of the question, of pictures and question."""

    count: int = 0
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    questions: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    asked: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    images: dict[str, int] = field(default_factory=dict)  # path -> first row that names it
    wrong: list[tuple[int, str, str]] = field(default_factory=list)  # row, id, why: the first of them
    num_wrong: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)  # note -> the first rows that have it
    num_notes: dict[str, int] = field(default_factory=dict)

    def add(self, other: Rows) -> None:
        """Append the rows that follow."""
        self.count += other.count
        for name in ('ids', 'questions', 'asked'):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        for path, row in other.images.items():
            self.images.setdefault(path, row)
        self.wrong = (self.wrong + other.wrong)[:EXAMPLES]
        self.num_wrong += other.num_wrong
        for note, rows in other.notes.items():
            self.notes[note] = (self.notes.get(note, []) + rows)[:EXAMPLES]
            self.num_notes[note] = self.num_notes.get(note, 0) + other.num_notes[note]


class FileRows(NamedTuple):
    """A file, where its rows lie, and what looks at them."""

    path: Path
    spans: np.ndarray
    look: Callable[[Mapping[str, Any]], Look]


class _Chunk(NamedTuple):
    file: FileRows
    first: int


def find_rows(path: Path, look: Callable[[Mapping[str, Any]], Look]) -> FileRows:
    """Where a file's rows lie; DataError when no rows can be found in it."""
    with open(path, 'rb') as file:
        return FileRows(path, find_records(path, _mapped(file)), look)


def read_rows(files: Sequence[FileRows], *, workers: int = 1, bar: Bar | None = None) -> Iterator[tuple[FileRows, Rows]]:
    """All rows of each file, file by file."""
    total = sum(len(file.spans) for file in files)
    spread = workers > 1 and total > SPREAD_FROM and all(_found_by_name(file.look) for file in files)
    chunks = [_Chunk(file._replace(spans=file.spans[first:first + CHUNK_ROWS]), first)
              for file in files for first in range(0, max(len(file.spans), 1), CHUNK_ROWS)]
    parts = in_processes(_read_chunk, chunks, workers if spread else 1)
    for file in files:
        rows = Rows()
        for _ in range(0, max(len(file.spans), 1), CHUNK_ROWS):
            part = next(parts)
            rows.add(part)
            if bar is not None:
                bar.advance(part.count)
        yield file, rows
    parts.close()  # type: ignore[attr-defined]


def look_at_samples(dataset: Dataset, *, bar: Bar | None = None) -> Rows:
    """The rows of a dataset whose files only it can read. Pictures are named by their key."""
    def looks() -> Iterator[Look]:
        for index in range(len(dataset)):
            sample = dataset[index]
            question = '\n'.join(turn.text for turn in sample.turns if turn.role == 'human')
            yield Look(sample.id, tuple(image.key for image in sample.images), question)
            if bar is not None:
                bar.advance()
    return _gather(looks(), 0)


def twice(hashes: np.ndarray) -> list[tuple[int, int]]:
    """(first row, later row) of equal hashes, in order of the later row."""
    if not len(hashes):
        return []
    order = np.argsort(hashes, kind='stable')
    again = hashes[order[1:]] == hashes[order[:-1]]
    starts = np.maximum.accumulate(np.where(np.concatenate([[True], ~again]), np.arange(len(order)), 0))
    pairs = [(int(order[starts[at + 1]]), int(order[at + 1])) for at in np.flatnonzero(again)]
    return sorted(pairs, key=lambda pair: pair[1])


def row_at(file: FileRows, row: int) -> Look:
    """One row, looked at again: for examples."""
    return next(_looks(_Chunk(file._replace(spans=file.spans[row:row + 1]), row)))


def _mapped(file: Any) -> mmap.mmap | bytes:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if Path(file.name).stat().st_size else b''


def _found_by_name(look: Callable[..., Any]) -> bool:
    """Can another process import it? Not so for functions of plug-in files, which have no module on the path."""
    try:
        return '<' not in look.__qualname__ and find_spec(look.__module__) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _read_chunk(chunk: _Chunk) -> Rows:
    return _gather(_looks(chunk), chunk.first)


def _looks(chunk: _Chunk) -> Iterator[Look]:
    with open(chunk.file.path, 'rb') as file:
        data = _mapped(file)
        for start, end in chunk.file.spans.tolist():
            yield _seen(data[start:end], chunk.file.look)


def _seen(text: bytes, look: Callable[[Mapping[str, Any]], Look]) -> Look:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Look('', wrong=f'is not valid JSON: {error}')
    return look(record) if isinstance(record, dict) else Look('', wrong=f'is a {type(record).__name__}, not an object')


def _gather(looks: Iterable[Look], first: int) -> Rows:
    rows, ids, questions, asked = Rows(), [], [], []
    for row, look in enumerate(looks, first):
        rows.count += 1
        ids.append(_hash(look.id) if look.id else _hash(f'\0{row}'))  # a row without an id is wrong already
        questions.append(_hash(look.question))
        asked.append(_hash('\0'.join((*look.images, look.question))))
        for path in look.images:
            rows.images.setdefault(path, row)
        if look.wrong:
            rows.num_wrong += 1
            if len(rows.wrong) < EXAMPLES:
                rows.wrong.append((row, look.id, look.wrong))
        for note in look.notes:
            rows.num_notes[note] = rows.num_notes.get(note, 0) + 1
            if rows.num_notes[note] <= EXAMPLES:
                rows.notes.setdefault(note, []).append(f'record {row}' + (f" (id '{look.id}')" if look.id else ''))
    rows.ids, rows.questions, rows.asked = (np.array(each, np.uint64) for each in (ids, questions, asked))
    return rows


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=8).digest(), 'little')
