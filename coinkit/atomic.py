"""Files and folders that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

Every file a run leaves behind is written through here, so that a process killed at any instant leaves the old or the
new content, never half of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def file(path: Path) -> Iterator[Path]:
    """Fill a file under a temporary name, then move it into place; parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.tmp-{os.getpid()}')
    yield temporary
    with open(temporary, 'rb') as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """JSON with a fixed layout; NaN and infinity are refused because they are not JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + '\n')


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name, then move it into place; an old folder of that name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.tmp-{os.getpid()}')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    yield temporary
    for file in sorted(temporary.rglob('*')):
        if file.is_file():
            with open(file, 'rb') as handle:
                os.fsync(handle.fileno())
    sync_folder(temporary)
    remove(path)
    os.rename(temporary, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file or folder so that a half-deleted one is never found under its name."""
    if not path.exists():
        return
    doomed = path.with_name(f'.{path.name}.del-{os.getpid()}')
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()


def sweep(path: Path) -> None:
    """Delete what killed processes left half written in `path`."""
    for pattern in ('.*.tmp-*', '.*.del-*'):
        for leftover in path.glob(pattern):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
