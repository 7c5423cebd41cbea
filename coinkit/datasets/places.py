"""Where a benchmark's files are: releases give one folder several names, so a config may name several places.

The first place that exists is taken; when none does, all of them are told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coinkit.data.doctor.needs import FileNeeded, FolderNeeded
from coinkit.datasets.origins import Origin, Origins, Source
from coinkit.errors import Problem

Places = str | Sequence[str]
ALTERNATIVES = '|'  # between the names of one folder, where a key can hold one text only


def places(root: str | Path, given: Places) -> list[Path]:
    """The files or folders that `given` names below `root`."""
    return [Path(root) / each for each in ([given] if isinstance(given, str) else given)]


def first_file(tried: Sequence[Path]) -> Path | None:
    return next((path for path in tried if path.is_file()), None)


def missing_file(tried: Sequence[Path], source: Origin) -> Problem:
    """None of the places has the file."""
    where = Source.read(source).advice
    cure = 'Put it there, or set data.root to the folder that holds it.'
    if len(tried) == 1:
        return Problem(str(tried[0]), f'there is no such file.{where}', cure)
    others = ', '.join(map(str, tried[1:]))
    return Problem(str(tried[0]), f'there is no such file, nor one of its other names: {others}.{where}', cure)


def file_needed(tried: Sequence[Path], source: Origin, **more: Any) -> FileNeeded:
    """The file under the name that is there, for `coinkit data`."""
    read = Source.read(source)
    return FileNeeded(path=first_file(tried) or tried[0], source=read.text, expected_size=read.size, archive=read.archive,
                      **more)


def image_folder(tried: Sequence[Path], example: str | None) -> Path:
    """The first folder that holds the picture `example`; else the first that exists; else the first."""
    holding = (path for path in tried if example is not None and os.path.isfile(path / example))
    there = (path for path in tried if path.is_dir())
    return next(holding, None) or next(there, None) or tried[0]


def missing_folders(images: Path, sources: Origins) -> list[Problem]:
    """Folders of pictures that are not there, each with where it comes from."""
    problems = []
    for names, source in sources.items():
        folder, *others = names.split(ALTERNATIVES)
        if not any((images / name).is_dir() for name in (folder, *others)):
            also = f' (or {", ".join(others)})' if others else ''
            problems.append(Problem(str(images / folder), f'there is no such image folder{also}.'
                                    f'{Source.read(source).advice}', 'Unpack it there, or set data.root.'))
    return problems


def needed_folders(images: Path, sources: Origins) -> list[FolderNeeded]:
    """The same folders, each under the name that is there."""
    found = []
    for names, given in sources.items():
        tried, source = [images / name for name in names.split(ALTERNATIVES)], Source.read(given)
        found.append(FolderNeeded(path=next((path for path in tried if path.is_dir()), tried[0]), source=source.text,
                                  expected_size=source.size, expected_pictures=source.pictures, archive=source.archive))
    return found
