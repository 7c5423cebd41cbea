"""What a converter has to say of its source, and where the official files of a source are found under a data root.

CoIN keeps pictures and official annotations under cl_dataset/; a root without it is taken for cl_dataset itself. Image
paths in the rows are relative to that folder and begin as CoIN's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coinkit.datasets.convert.reading import Advance
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.errors import ConfigError, Problem

IMAGES = 'cl_dataset'
SPLITS = ('train', 'test')

Files = Mapping[str, Path]
Read = Callable[[Files, str, Advance], Iterator[Item | LeftOut]]


@dataclass(frozen=True)
class Source:
    """An official source. `files` are, by split, its files by role, each with the names it may have."""

    name: str
    task: str  # in the benchmark
    folders: tuple[str, ...]  # below the image root; the annotation files are in one of them
    files: Mapping[str, Mapping[str, tuple[str, ...]]]
    read: Read
    origin: str  # where its files come from
    optional: tuple[str, ...] = ()  # roles that may be missing
    instruction_asks: bool = False  # the instruction is the question


@dataclass(frozen=True)
class Found:
    """The files of one split, and the folder that image paths are relative to."""

    files: Files
    image_root: Path

    @property
    def num_bytes(self) -> int:
        """What there is to read; folders count nothing."""
        return sum(file.stat().st_size for file in self.files.values() if file.is_file())


def find(source: Source, root: Path, split: str, annotations: Path | None = None) -> Found:
    """The files of a split under `root`, or in the folder `annotations`; a ConfigError says what is missing."""
    image_root = root / IMAGES if (root / IMAGES).is_dir() else root
    folders = [annotations] if annotations is not None else [image_root / folder for folder in source.folders]
    files, problems = {}, []
    for role, names in source.files[split].items():
        tried = [folder / name for folder in folders for name in names]
        there = next((path for path in tried if path.exists()), None)
        if there is not None:
            files[role] = there
        elif role not in source.optional:
            also = f' (nor {", ".join(map(str, tried[1:]))})' if tried[1:] else ''
            problems.append(Problem(str(tried[0]), f'there is no such file or folder{also}. It comes from {source.origin}.',
                                    'Put it there, name its folder with --annotations, or convert the other split alone '
                                    '(--split).'))
    if problems:
        raise ConfigError(problems)
    return Found(files, image_root)
