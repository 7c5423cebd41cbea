"""Official annotation files record by record: one JSON object or list, of any size, is never in memory as a whole.

`members` walks an object from id to record, `elements` a list, at the top or under a key of the top object. Bytes that are
no UTF-8, broken or cut JSON, an id that stands twice and a record of another form end in one DataError with file and place.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from coinkit.data.strict_json import DECODER, TwiceInObject
from coinkit.datasets.shown import shown
from coinkit.errors import DataError, nearest

CHUNK_BYTES = 1 << 20
MAX_VALUE_CHARS = 1 << 26  # of one record; more is a file that is broken, or another one
_NUMBER_GOES_ON = re.compile(r'[-+.eE\d]*\Z')  # up to where the text was read: '1.' may become 1.5
_SPACE = re.compile(r'[ \t\r\n]*')
_CURE = 'Download it again.'

Advance = Callable[[int], None]  # told the bytes that were read


class _Text:
    """A file's text as far as it is needed."""

    def __init__(self, path: Path, advance: Advance):
        self.path, self._advance = path, advance
        self._decoder = codecs.getincrementaldecoder('utf-8-sig')()
        self._text, self._at, self._read, self._ended = '', 0, 0, False
        self.place = 'at its beginning'
        try:
            self._file = open(path, 'rb')
        except OSError as error:
            raise DataError(f'{path}: cannot be read ({error.strerror}).') from error

    def close(self) -> None:
        self._file.close()

    def _more(self) -> bool:
        """Read on; a value that needs much text gets twice as much each time."""
        if self._ended:
            return False
        blob = self._file.read(max(CHUNK_BYTES, len(self._text) - self._at))
        self._ended = not blob
        try:
            new = self._decoder.decode(blob, final=self._ended)
        except UnicodeDecodeError as error:
            raise DataError(f'{self.path}: is no UTF-8 text near byte {self._read + error.start}. {_CURE}') from error
        self._read += len(blob)
        self._advance(len(blob))
        self._text, self._at = self._text[self._at:] + new, 0
        return True

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ''

    def take(self, wanted: str) -> str:
        """The next character, which must be one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.wrong(f'{found!r} stands where {" or ".join(map(repr, wanted))} is wanted' if found else
                             'it ends here: it is cut short')
        self._at += 1
        return found

    def expect(self, wanted: str) -> None:
        """The next character must be `wanted`; it is not taken."""
        self.take(wanted)
        self._at -= 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise self.wrong('it is nested too deep') from error
            except TwiceInObject as error:
                raise self.wrong(str(error)) from error
            except ValueError as error:
                if len(self._text) - self._at > MAX_VALUE_CHARS or not self._more():
                    raise self.wrong(str(error)) from error
                continue
            if isinstance(value, int | float) and _NUMBER_GOES_ON.match(self._text, end) and self._more():
                continue
            self._at = end
            return value

    def wrong(self, why: str) -> DataError:
        return DataError(f'{self.path}: {self.place}: is not valid JSON: {why}. {_CURE}')


def members(path: Path, advance: Advance) -> Iterator[tuple[str, Any]]:
    """Keys and values of the file's one object."""
    with closing(_Text(path, advance)) as text:
        for key in _keys(text):
            yield key, text.value()
        _end(text)


def elements(path: Path, advance: Advance, key: str = '') -> Iterator[Any]:
    """Elements of the file's list, or of the list that its object has under `key`."""
    with closing(_Text(path, advance)) as text:
        if not key:
            yield from _list(text)
        else:
            found = []
            for name in _keys(text):
                found.append(name)
                if name == key:
                    yield from _list(text)
                else:
                    text.value()
            if key not in found:
                raise DataError(f"{path}: has no list '{key}'. Its keys: {', '.join(found) or 'none'}. "
                                f'{nearest(key, found)}'.strip())
        _end(text)


def _keys(text: _Text) -> Iterator[str]:
    """The keys of an object; whoever takes one reads its value before the next."""
    if text.peek() == '[':
        raise DataError(f"{text.path}: holds a list; an object {{...}} is wanted. Is it the official file?")
    text.take('{')
    seen: set[str] = set()
    while text.peek() != '}':
        if seen:
            text.take(',')
        text.expect('"')
        key = text.value()
        if key in seen:
            raise DataError(f"{text.path}: has '{key}' twice. {_CURE}")
        seen.add(key)
        text.place = f"at '{key}'"
        text.take(':')
        yield key
    text.take('}')


def _list(text: _Text) -> Iterator[Any]:
    if text.peek() == '{':
        raise DataError(f'{text.path}: {text.place}: holds an object; a list [...] is wanted. Is it the official file?')
    text.take('[')
    number = 0
    while text.peek() != ']':
        if number:
            text.take(',')
        text.place = f'at record {number}'
        yield text.value()
        number += 1
    text.take(']')


def _end(text: _Text) -> None:
    text.place = 'after its end'
    if found := text.peek():
        raise text.wrong(f'{found!r} follows')


class Record:
    """One annotation, and how its fields are asked for: a missing one, or one of another type, is named with its place."""

    def __init__(self, value: Any, path: Path, name: str):
        self.path, self.name = path, name
        if not isinstance(value, Mapping):
            raise DataError(f"{path}: record {name} is a {type(value).__name__}; an object {{...}} is wanted.")
        self.value: Mapping[str, Any] = value

    def text(self, key: str) -> str:
        return self._get(key, str, 'a text')

    def number(self, key: str) -> int:
        found = self._get(key, int, 'a whole number')
        if isinstance(found, bool):
            raise self.wrong(f"'{key}' is {found}; a whole number is wanted")
        return found

    def name_of(self, key: str) -> str:
        """An id: a text or a whole number, as text."""
        found = self._get(key, (str, int), 'a text or a whole number')
        if isinstance(found, bool) or not str(found).strip():
            raise self.wrong(f"'{key}' is {found!r}; a text or a whole number is wanted")
        return str(found)

    def flag(self, key: str, default: bool) -> bool:
        """True or false; `default` where there is nothing."""
        return self._get(key, bool, 'true or false') if key in self.value else default

    def listed(self, key: str) -> list[Any]:
        return self._get(key, list, 'a list')

    def texts(self, key: str) -> list[str]:
        """A list of texts; of annotators (one object each), what they answered."""
        listed = [each.get('answer') if isinstance(each, Mapping) else each for each in self._get(key, list, 'a list')]
        wrong = [each for each in listed if not isinstance(each, str)]
        if wrong:
            raise self.wrong(f"'{key}' holds {shown(wrong[0])}; texts are wanted")
        return listed

    def _get(self, key: str, kind: type | tuple[type, ...], words: str) -> Any:
        if key not in self.value:
            keys = list(map(str, self.value))
            raise self.wrong(f"has no '{key}'. Its keys: {', '.join(keys) or 'none'}. {nearest(key, keys)}".strip())
        found = self.value[key]
        if not isinstance(found, kind):
            raise self.wrong(f"'{key}' is {shown(found)}; {words} is wanted")
        return found

    def wrong(self, why: str) -> DataError:
        return DataError(f'{self.path}: record {self.name}: {why}.')
