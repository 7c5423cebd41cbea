"""The answers of judges on disk: one JSON line per answer, only ever appended, found again by the question's key.

A line is handed to the system in one write as soon as the answer is there, so a killed process loses no answer that it
had; a line torn by a kill is the last one, has no newline and is cut off. One process writes at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from coinkit.errors import RunError
from coinkit.judges.base import Answer

SYNC_EVERY_S = 1.0  # a power cut may lose this much; a kill loses nothing


class AnswerCache:
    """Answers by key. `with AnswerCache(path) as cache` to write; without `with` it only reads."""

    def __init__(self, path: Path):
        self.path = path
        self._handle: int | None = None
        self._synced = 0.0
        self._answers: dict[str, Answer] = self._read() if path.exists() else {}

    def __len__(self) -> int:
        return len(self._answers)

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def put(self, key: str, answer: Answer, *, judge: str) -> None:
        """Store an answer; the first one for a key stays."""
        if key in self._answers:
            return
        assert self._handle is not None, 'the cache is open for reading only'
        line = {'key': key, 'answer': answer.text, 'judge': judge, 'model': answer.model, 'tokens_in': answer.tokens_in,
                'tokens_out': answer.tokens_out, 'time': round(time.time(), 3)}
        self._write(json.dumps(line).encode() + b'\n')  # ASCII: an answer may hold a lone surrogate
        self._answers[key] = answer

    def __enter__(self) -> AnswerCache:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            self._handle = None
            raise RunError(f'{self.path}: another process is asking a judge here. Wait for it, or give another file '
                           'with --cache.') from None
        self._answers = self._read(cut=True)  # another process may have written since
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._handle is not None:
            os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError(0, f'{written} of {len(line)} bytes written')
            if time.monotonic() - self._synced >= SYNC_EVERY_S:
                os.fsync(self._handle)
                self._synced = time.monotonic()
        except OSError as error:
            raise RunError(f'{self.path}: an answer cannot be stored ({error.strerror}). Asking has stopped; make room '
                           'and run the same command again.') from error

    def _read(self, *, cut: bool = False) -> dict[str, Answer]:
        raw = self.path.read_bytes()
        whole = raw[:raw.rfind(b'\n') + 1]
        if cut and len(whole) < len(raw):
            os.ftruncate(self._handle, len(whole))
        answers: dict[str, Answer] = {}
        for number, line in enumerate(whole.split(b'\n')[:-1], start=1):
            key, answer = self._parse(line, number)
            answers.setdefault(key, answer)
        return answers

    def _parse(self, line: bytes, number: int) -> tuple[str, Answer]:
        try:
            record: dict[str, Any] = json.loads(line)
            return str(record['key']), Answer(str(record['answer']), str(record.get('model', '')),
                                              record.get('tokens_in'), record.get('tokens_out'))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RunError(f'{self.path}: line {number} is not an answer. The file was edited or damaged: take the line '
                           'out, and its question is asked again.') from None
