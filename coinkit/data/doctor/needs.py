"""What a dataset needs on disk: the protocol between dataset classes and `coinkit data`.

A dataset class may have a classmethod `inventory(**arguments)`, which takes the arguments of its constructor and returns
a list of `FileNeeded` and `FolderNeeded`. It opens no file. A `FileNeeded` with a `look` is read row by row, in several
processes: `look` must be a function of a module, and everything it finds is in the `Look` it returns. Files without
one are checked for presence; when a dataset has no other, and when its class has no `inventory`, its `preflight` is asked
and its samples are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Look(NamedTuple):
    """One row as seen: `wrong` says why it cannot be used; `notes` are doubts, worded alike in every row that has them."""

    id: str
    images: tuple[str, ...] = ()  # relative to the file's image_root
    question: str = ''
    wrong: str = ''
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FileNeeded:
    """A file that must be there."""

    path: Path
    others: tuple[Path, ...] = ()  # places that would do as well, when it is in none
    source: str = ''  # where to get it
    expected_size: int | None = None  # bytes, as its source says (sizes.bytes_of('226 MB'))
    archive: str = ''  # name of an archive of that size which holds other places too: counted once
    look: Callable[[Mapping[str, Any]], Look] | None = None  # None: not a list of rows
    image_root: Callable[[str | None], Path] = lambda first: Path()  # from the first picture that the rows name
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class FolderNeeded:
    """A folder of pictures that must be there."""

    path: Path
    source: str = ''
    expected_size: int | None = None  # bytes to fetch, as its source says
    expected_pictures: int | None = None  # as its source counts them
    archive: str = ''  # as of a file


Needed = FileNeeded | FolderNeeded
