"""Where the records of a JSON array or of JSONL lie: a vectorised scan for quotes and brackets, one MiB at a time.

Only boundaries are found here: whether a record is valid JSON is seen when it is parsed. Memory does not grow with the
file but for the offsets themselves.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coinkit.errors import DataError

CHUNK_BYTES = 1 << 20
_QUOTE, _SLASH, _OPEN, _CLOSE, _NEWLINE = b'"'[0], b'\\'[0], b'{'[0], b'}'[0], b'\n'[0]
_MARKS = np.zeros(256, bool)
_MARKS[list(b'"\\{}[]')] = True
_STEP = np.zeros(256, np.int8)
_STEP[list(b'{[')], _STEP[list(b'}]')] = 1, -1
_SPACE, _COMMA = re.compile(rb'[ \t\r\n]*'), re.compile(rb'[ \t\r\n]*,[ \t\r\n]*')
_BOM = b'\xef\xbb\xbf'
_CURE = 'Download or write the file again.'


def find_records(path: Path, data: mmap.mmap | bytes, *, chunk_bytes: int = CHUNK_BYTES) -> np.ndarray:
    """Byte spans (records, 2) of the top-level objects. `[` opens a JSON array, `{` is taken for JSONL."""
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        raise DataError(f'{path}: is UTF-16; JSON must be UTF-8. Convert it: iconv -f utf-16 -t utf-8.')
    first = _SPACE.match(data, len(_BOM) if data[:3] == _BOM else 0).end()
    if first == len(data):
        raise DataError(f'{path}: is empty. {_CURE}')
    if data[first:first + 1] == b'[':
        return _array(path, data, first + 1, chunk_bytes)
    if data[first:first + 1] == b'{':
        return _lines(path, data, first, chunk_bytes)
    raise DataError(f"{path}: byte {first} is {data[first:first + 12]!r}; a JSON array '[...]' or one object per line "
                    'is wanted.')


def _lines(path: Path, data: mmap.mmap | bytes, first: int, chunk_bytes: int) -> np.ndarray:
    """Spans of the lines that are not blank."""
    ends = [np.flatnonzero(_bytes(data, start, chunk_bytes) == _NEWLINE) + start
            for start in range(first, len(data), chunk_bytes)]
    stops = np.concatenate([*ends, [len(data)]])
    spans = np.stack([np.concatenate([[first], stops[:-1] + 1]), stops], axis=1).astype(np.int64)
    if not data[first:int(stops[0])].rstrip(b' \t\r\n').endswith(b'}'):
        raise DataError(f"{path}: begins with '{{', which means one object {{...}} per line, but its first line (at byte "
                        f"{first}) does not end with '}}'. Records of several lines, or in an object by name, must be in an "
                        f"array '[...]' instead. Or the file is cut short. {_CURE}")
    begins = np.frombuffer(data, np.uint8)[np.minimum(spans[:, 0], len(data) - 1)]
    blank = [i for i in np.flatnonzero(begins != _OPEN) if _SPACE.fullmatch(data, *map(int, spans[i]))]
    return np.delete(spans, blank, axis=0)


def _array(path: Path, data: mmap.mmap | bytes, first: int, chunk_bytes: int) -> np.ndarray:
    """Spans of the objects of an array whose inside starts at `first`."""
    scan, starts, ends, close = _Scan(), [], [], None
    for begin in range(first, len(data), chunk_bytes):
        opened, closed, close = scan.feed(_bytes(data, begin, chunk_bytes))
        starts.append(opened + begin)
        ends.append(closed + begin)
        if close is not None:
            close += begin
            break
    starts, ends = (np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64) for parts in (starts, ends))
    if close is None:
        raise DataError(_truncated(path, len(data), starts, ends))
    if len(starts) != len(ends):
        raise DataError(f'{path}: brackets do not match in or after record {max(min(len(starts), len(ends)) - 1, 0)}. '
                        f'{_CURE}')
    spans = np.stack([starts, ends], axis=1)
    _check_between(path, data, first, spans, close)
    return spans


def _bytes(data: mmap.mmap | bytes, start: int, count: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, min(count, len(data) - start), start)


@dataclass
class _Scan:
    """What a chunk must know of those before it."""

    in_string: bool = False
    escaped: bool = False  # the next byte follows an odd run of backslashes
    depth: int = 1

    def feed(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
        """Starts and ends of top-level objects, and where the array closes, as positions in the chunk."""
        at = np.flatnonzero(_MARKS[chunk])
        mark = chunk[at]
        quotes = self._real_quotes(at[mark == _QUOTE], at[mark == _SLASH], len(chunk))
        step = _STEP[mark]
        at, mark, step = at[step != 0], mark[step != 0], step[step != 0]
        outside = (np.searchsorted(quotes, at) + self.in_string) % 2 == 0
        at, mark, step = at[outside], mark[outside], step[outside]
        depth = self.depth + np.cumsum(step, dtype=np.int64)
        self.in_string ^= bool(len(quotes) % 2)
        closing = np.flatnonzero(depth == 0)
        last = closing[0] if len(closing) else len(at)
        close = int(at[last]) if len(closing) else None
        self.depth = int(depth[-1]) if len(depth) else self.depth
        at, mark, depth = at[:last], mark[:last], depth[:last]
        return at[(mark == _OPEN) & (depth == 2)], at[(mark == _CLOSE) & (depth == 1)] + 1, close

    def _real_quotes(self, quotes: np.ndarray, slashes: np.ndarray, length: int) -> np.ndarray:
        """Quotes that no odd run of backslashes escapes; notes whether the byte after the chunk is escaped."""
        carried, self.escaped = self.escaped, False
        escaped = (quotes == 0) & carried
        if len(slashes):
            number = np.arange(len(slashes))
            fresh = np.concatenate([[True], np.diff(slashes) != 1])
            run_start = slashes[np.maximum.accumulate(np.where(fresh, number, 0))]
            run = slashes - run_start + 1 - (carried & (run_start == 0))  # an escaped backslash escapes nothing
            slot = np.searchsorted(slashes, quotes) - 1
            escaped |= (slot >= 0) & (slashes[slot] == quotes - 1) & (run[slot] % 2 == 1)
            self.escaped = bool(slashes[-1] == length - 1 and run[-1] % 2 == 1)
        return quotes[~escaped]


def _truncated(path: Path, size: int, starts: np.ndarray, ends: np.ndarray) -> str:
    if len(starts) > len(ends):
        return (f'{path}: ends at byte {size} inside record {len(starts) - 1}, which starts at byte {starts[-1]}: it '
                f'is cut short. {_CURE}')
    return f"{path}: ends at byte {size} after {len(starts)} records without a closing ']': it is cut short. {_CURE}"


def _check_between(path: Path, data: mmap.mmap | bytes, first: int, spans: np.ndarray, close: int) -> None:
    """Nothing but one comma between records, nothing after the array."""
    previous = first
    for i, (start, end) in enumerate(spans.tolist()):
        if not (_COMMA if i else _SPACE).fullmatch(data, previous, start):
            raise DataError(_not_an_object(path, data, i, previous, start))
        previous = end
    if not _SPACE.fullmatch(data, previous, close):
        raise DataError(_not_an_object(path, data, len(spans), previous, close))
    if _SPACE.match(data, close + 1).end() != len(data):
        raise DataError(f"{path}: there is more after the closing ']' at byte {close}. {_CURE}")


def _not_an_object(path: Path, data: mmap.mmap | bytes, index: int, start: int, end: int) -> str:
    found = data[start:min(end, start + 40)].strip(b' \t\r\n')
    return (f'{path}: at byte {start}, before record {index}, stands {found!r}; an array of objects {{...}} with one '
            'comma between them is wanted.')
