"""The picture files of a benchmark: are those that rows name there, can they be decoded, which are the same picture?

All of it waits for the disk or for decoders that let other threads run, so threads do it. A picture is decoded the way
training does it.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from coinkit.data.doctor.work import Bar, in_threads
from coinkit.data.images import FileImage
from coinkit.errors import BadImage

CHUNK = 2_000  # files asked for at once by one thread


class References(NamedTuple):
    """Those of the named pictures that are no usable file."""

    missing: list[str]
    empty: list[str]


def check_references(root: str, paths: Sequence[str], *, workers: int = 1, bar: Bar | None = None) -> References:
    """Which of `paths` below `root` are not there, or hold no byte."""
    found = References([], [])
    chunks = [(root, paths[start:start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    for chunk, (missing, empty) in zip(chunks, in_threads(_missing_and_empty, chunks, workers), strict=True):
        found.missing.extend(missing)
        found.empty.extend(empty)
        if bar is not None:
            bar.advance(len(chunk[1]))
    return found


def _missing_and_empty(job: tuple[str, Sequence[str]]) -> References:
    root, paths = job
    found = References([], [])
    for path in paths:
        try:
            if os.stat(FileImage(path, root).file).st_size == 0:
                found.empty.append(path)
        except (OSError, BadImage):
            found.missing.append(path)
    return found


def sample(paths: Sequence[str], count: int, *, seed: str) -> list[str]:
    """`count` of the paths, the same ones at every call; all where there are no more."""
    return list(paths) if len(paths) <= count else sorted(random.Random(seed).sample(list(paths), count))


def undecodable(root: str, paths: Sequence[str], *, workers: int = 1, bar: Bar | None = None) -> dict[str, str]:
    """{path: why} of pictures that cannot be decoded."""
    wrong = {}
    jobs = [(root, path) for path in paths]
    for (_, path), why in zip(jobs, in_threads(_decode, jobs, workers), strict=True):
        if why:
            wrong[path] = why
        if bar is not None:
            bar.advance()
    return wrong


def _decode(job: tuple[str, str]) -> str:
    root, path = job
    try:
        FileImage(path, root).load()
    except BadImage as error:
        return str(error)
    return ''


def same_content(root: str, paths: Iterable[str], *, workers: int = 1, bar: Bar | None = None) -> list[list[str]]:
    """Groups of pictures of equal bytes. Only files of equal size are read."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in paths:
        try:
            by_size[os.path.getsize(FileImage(path, root).file)].append(path)
        except (OSError, BadImage):
            continue  # told as missing already
    suspects = [(root, path) for size, group in by_size.items() if len(group) > 1 and size for path in group]
    if bar is not None:
        bar.advance(sum(map(len, by_size.values())) - len(suspects))
    groups: dict[bytes, list[str]] = defaultdict(list)
    for (_, path), digest in zip(suspects, in_threads(_digest, suspects, workers), strict=True):
        groups[digest].append(path)
        if bar is not None:
            bar.advance()
    return [group for group in groups.values() if len(group) > 1]


def _digest(job: tuple[str, str]) -> bytes:
    root, path = job
    with open(FileImage(path, root).file, 'rb') as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
