"""Zip and tar archives, unpacked where they lie: inside that folder only, no links, within a bound, and resumable.

Each file is written under a temporary name and renamed, so what is there is whole; a file that is there with its full
size is not written again. `.NAME.unpacked` beside the archive says that all of it was unpacked, and stays when
the archive is deleted to save space.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from coinkit import atomic
from coinkit.errors import DataError

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz')
MAX_RATIO = 200  # unpacked bytes per byte of archive; pictures are near 1, JSON near 10
FREE_BYTES = 100 << 20  # and this much in any case
_COPY_BYTES = 1 << 20
_BAD_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class _Member(NamedTuple):
    name: str
    size: int
    is_folder: bool
    is_plain: bool  # a file with content: no link, device or pipe
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def marker_of(archive: Path) -> Path:
    """The file that says an archive was unpacked whole."""
    return archive.with_name(f'.{archive.name}.unpacked')


def is_unpacked(archive: Path) -> bool:
    """Was this very archive, or one that is gone since, unpacked?"""
    try:
        told = json.loads(marker_of(archive).read_text())
    except (OSError, ValueError):
        return False
    return not archive.exists() or told.get('size') == archive.stat().st_size


def unpack(archive: Path, *, advance: Callable[[int], None] = lambda size: None) -> int:
    """Unpack into the archive's own folder; the number of files. DataError when it cannot or must not be done."""
    target, limit = archive.parent, archive.stat().st_size * MAX_RATIO + FREE_BYTES
    count, total = 0, 0
    try:
        with _members(archive) as members:
            for member in members:
                place = _place(archive, target, member)
                if member.is_folder:
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                size = _write(archive, member, place, limit - total)
                total, count = total + size, count + 1
                advance(size)
    except DataError:
        raise
    except _BAD_ARCHIVE as error:
        raise DataError(f'{archive}: cannot be unpacked ({error}). What was unpacked before is kept; delete the archive and '
                        'download it again, or make room if the disk is full.') from error
    os.sync()  # once, and not for each of a hundred thousand files
    atomic.write_json(marker_of(archive), {'size': archive.stat().st_size, 'files': count, 'bytes': total})
    return count


def _place(archive: Path, target: Path, member: _Member) -> Path:
    """Where a member goes: inside the folder, by its text, and as a plain file."""
    path = PurePosixPath(member.name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or not (path.parts or member.is_folder):
        raise DataError(f"{archive}: its member '{member.name}' leads out of the folder. Nothing of it was written; do not "
                        'use this archive.')
    if not member.is_folder and not member.is_plain:
        raise DataError(f"{archive}: its member '{member.name}' is a link or a device; only files are unpacked. Do not use "
                        'this archive, or unpack it yourself.')
    return target / path


def _write(archive: Path, member: _Member, place: Path, allowed: int) -> int:
    """Write one member; its size. More bytes than announced, or than allowed in all, are an error."""
    if member.size > allowed:
        raise DataError(f'{archive}: unpacks to more than {MAX_RATIO} times its size; that is no data set. What was '
                        'unpacked before is kept.')
    if place.is_file():
        if place.stat().st_size == member.size:
            return member.size
        raise DataError(f'{place}: is there already, with another size than in {archive.name}. Move one of them away.')
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f'.{place.name}.tmp-{os.getpid()}')
    try:
        with member.open() as source, open(temporary, 'wb') as copy:
            written = 0
            while block := source.read(_COPY_BYTES):
                written += len(block)
                if written > member.size:
                    raise DataError(f"{archive}: its member '{member.name}' is larger than it says. Do not use it.")
                copy.write(block)
            if written < member.size:
                raise DataError(f"{archive}: ends inside '{member.name}'. Download it again.")
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
    return written


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    if archive.name.lower().endswith('.zip'):
        with zipfile.ZipFile(archive) as opened:
            yield (_zip_member(opened, info) for info in opened.infolist())
    else:
        with tarfile.open(archive, 'r|*') as opened:  # as a stream: one pass, nothing kept of members that are done
            yield (_tar_member(opened, info) for info in opened)


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    plain = not info.flag_bits & 1 and stat.S_IFMT(mode) in (0, stat.S_IFREG)  # bit 0: encrypted
    return _Member(info.filename, info.file_size, info.is_dir(), plain, lambda: opened.open(info))


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    def read() -> Any:
        return opened.extractfile(info)
    return _Member(info.name, info.size, info.isdir(), info.isreg(), read)


def room_for(archive: Path) -> bool:
    """Is there as much free space as the archive itself takes? Pictures hardly shrink when they are packed."""
    return shutil.disk_usage(archive.parent).free > archive.stat().st_size
