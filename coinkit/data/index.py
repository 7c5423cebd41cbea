"""Random access to the records of a JSON array or JSONL file without loading it: byte offsets, found once, then mapped.

The index lies beside the file as `NAME.coinkit-index` (or in the user's cache folder where that is not writable), is
keyed by the file's size, modification time and the index's format, and replaces an old one atomically, so processes
that open a file for the first time at the same moment need no lock: each builds, the last one wins, all are equal. A
`survey` looks at every record once while the index is built (ids, answers, image paths); its result is stored as well.

A record is what `json.loads` makes of its bytes, or a DataError that names file, record and byte: text that is not
UTF-8, half of a surrogate pair and a key that is there twice, of which `json.loads` would drop one, are errors too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import stat
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coinkit.data.scan import find_records
from coinkit.data.strict_json import decode
from coinkit.errors import DataError

FORMAT = 2
SUFFIX = '.coinkit-index'
_MAGIC = b'coinkit-index\n'
_ALIGN = 16

Record = dict[str, Any]
Records = Sequence[Record]
log = logging.getLogger(__name__)
_HALF_PAIR = re.compile(rb'\\u[dD][89a-fA-F]')  # a character beyond U+FFFF is written as two of these
_storing: ContextVar[bool] = ContextVar('storing', default=True)


class Survey(NamedTuple):
    """A look at all records: `run(records)` returns JSON-able findings by name; under another `name` it is run anew."""

    name: str
    run: Callable[[Records], Mapping[str, Any]]


class _Stored(NamedTuple):
    """An index as stored: the header names where in `findings` each finding of the survey lies."""

    header: Mapping[str, Any]
    spans: np.ndarray
    findings: bytes | memoryview


class RecordIndex:
    """The records of one file by position; made by `open_index`. Safe to read from several threads."""

    def __init__(self, path: Path, stored: _Stored):
        self.path, self._stored, self._spans = path, stored, stored.spans
        self._file = _opened(path)  # read, not mapped: a file that somebody cuts short must not end the process
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._spans)

    @property
    def digest(self) -> str:
        """Short hash of the file's bytes."""
        return self._stored.header['digest']

    def finding(self, name: str) -> Any:
        """What the survey found under `name`; read only now, so that opening costs nothing."""
        start, end, check = self._stored.header['findings'][name]
        blob = bytes(self._stored.findings[start:end])
        if zlib.crc32(blob) != check:
            raise _damaged(self.path)
        return json.loads(blob)

    def offset(self, index: int) -> int:
        """Byte offset of a record in the file."""
        return int(self._spans[index, 0])

    def record(self, index: int) -> Record:
        """Parse one record."""
        if not 0 <= index < len(self):
            raise IndexError(f'{self.path} holds {len(self)} records, none at {index}')
        start, end = map(int, self._spans[index])
        if not 0 <= start < end <= self._stored.header['size']:
            raise _damaged(self.path)
        raw = os.pread(self._file, end - start, start)
        if len(raw) < end - start:
            raise DataError(f'{self.path}: was cut short while it was in use; record {index} (at byte {start}) is gone.')
        return _parse(raw, self.path, index, start)


def open_index(path: str | Path, *, survey: Survey | None = None) -> RecordIndex:
    """The index of `path`: read if a valid one is stored, built and stored otherwise."""
    path = Path(path)
    key = _key(path, survey)
    for place in (_beside(path), _in_cache(path)):
        found = _read(place, key)
        if found is not None:
            return RecordIndex(path, found)
    built = _build(path, key, survey)
    if _storing.get():
        _store(path, built)
    return RecordIndex(path, built)


@contextmanager
def nothing_stored() -> Iterator[None]:
    """Inside, indexes that are absent are built for the moment and not written: for looking without touching."""
    token = _storing.set(False)
    try:
        yield
    finally:
        _storing.reset(token)


def _key(path: Path, survey: Survey | None) -> dict[str, Any]:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        raise DataError(f'{path}: is not a file. Check the path and data.root.')
    return {'format': FORMAT, 'size': found.st_size, 'mtime_ns': found.st_mtime_ns,
            'survey_name': survey.name if survey else ''}


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _in_cache(path: Path) -> Path:
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'coinkit' / 'index' / (hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32] + SUFFIX)


def _map(path: Path) -> mmap.mmap | bytes:
    with open(path, 'rb') as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b''


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f'{path}: cannot be read ({getattr(error, "strerror", None) or error}). Check the path and data.root.')


def _damaged(path: Path) -> DataError:
    return DataError(f'{path}: its index is damaged. Delete {_beside(path)} or {_in_cache(path)}; it is built anew.')


def _parse(raw: bytes, path: Path, index: int, start: int) -> Record:
    try:
        record = decode(raw.decode())
        if _HALF_PAIR.search(raw):
            json.dumps(record, ensure_ascii=False).encode()  # raises where a half has lost the other
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: record {index} (at byte {start}) is not valid JSON: {error}. Mend or download it '
                        'again.') from error
    if not isinstance(record, dict):
        raise DataError(f'{path}: record {index} (at byte {start}) is a {type(record).__name__}; every record must be '
                        'an object {...}.')
    return record


class _Records(Sequence[Record]):
    """What a survey sees of a file: its records, parsed as they are asked for."""

    def __init__(self, path: Path, data: mmap.mmap | bytes, spans: np.ndarray):
        self._parts = (path, data, spans)

    def __len__(self) -> int:
        return len(self._parts[2])

    def __getitem__(self, index: int) -> Record:
        if index >= len(self):
            raise IndexError(index)
        path, data, spans = self._parts
        start, end = map(int, spans[index])
        return _parse(data[start:end], path, index, start)


def _build(path: Path, key: dict[str, Any], survey: Survey | None) -> _Stored:
    try:
        data = _map(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    spans = find_records(path, data)
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    found = survey.run(_Records(path, data, spans)) if survey else {}
    if _key(path, survey) != key:
        raise DataError(f'{path}: changed while it was read. Wait until it is complete and start again.')
    places, blobs = {}, b''
    for name, value in found.items():
        blob = json.dumps(value).encode()
        places[name] = [len(blobs), len(blobs) + len(blob), zlib.crc32(blob)]
        blobs += blob
    return _Stored({**key, 'count': len(spans), 'digest': digest, 'findings': places}, spans, blobs)


def _read(place: Path, key: Mapping[str, Any]) -> _Stored | None:
    """A stored index; None when there is none or it is of another file, format or survey."""
    try:
        data = _map(place)
        if data[:len(_MAGIC)] != _MAGIC:
            return None
        size, check = (int.from_bytes(data[len(_MAGIC) + at:len(_MAGIC) + at + 8], 'little') for at in (0, 8))
        header_end = len(_MAGIC) + 16 + size
        blob = data[len(_MAGIC) + 16:header_end]
        header = json.loads(blob)
        if zlib.crc32(blob) != check or any(header.get(name) != value for name, value in key.items()):
            return None
        first = -(-header_end // _ALIGN) * _ALIGN
        spans = np.frombuffer(data, np.int64, header['count'] * 2, first).reshape(-1, 2)
        findings = memoryview(data)[first + spans.nbytes:]
        whole = len(findings) == max((end for _, end, _ in header['findings'].values()), default=0)
        return _Stored(header, spans, findings) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, cut short or not ours: build it again
        return None


def _store(path: Path, built: _Stored) -> None:
    blob = json.dumps(built.header).encode()
    head = _MAGIC + len(blob).to_bytes(8, 'little') + zlib.crc32(blob).to_bytes(8, 'little') + blob
    content = b''.join((head, bytes(-len(head) % _ALIGN), built.spans.tobytes(), built.findings))
    for place in (_beside(path), _in_cache(path)):
        try:
            _replace(place, content)
            return
        except OSError as error:
            log.debug('no index at %s: %s', place, error)
    log.warning('%s: its index can be stored neither beside it nor in %s; it is built at every start', path,
                _in_cache(path))


def _replace(place: Path, content: bytes) -> None:
    if place != _beside(place) and not place.parent.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'{place.name}.', suffix='.tmp', dir=place.parent)
    try:
        with open(handle, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise
