"""LLaVA/CoIN-style instruction data: JSON arrays or JSONL of conversations (training rows) or questions (test rows).

Records are read one by one through a memory-mapped index; pictures are opened by the workers. All records are checked
once, when the index is built, and what is wrong is told in preflight: file, record and id.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coinkit.data.images import POLICIES, FileImage, missing_images
from coinkit.data.index import RecordIndex, open_index
from coinkit.datasets.instruction_rows import SURVEY, parse_row
from coinkit.errors import ConfigError, DataError, Problem, unknown
from coinkit.types import Sample, Turn

EXAMPLES = 3  # missing images named in a problem


class InstructionJson:
    """One file of instruction rows.

    `path` and `image_root` are relative to `root` (the config's `data.root`); image paths in the rows are relative to
    `image_root` (default: `root`). `split` is inferred from the rows: conversations train, questions test. Test samples
    carry their gold answers in `references` and the row's other fields in `meta`. The loader applies `on_bad_image`.
    `source` says where the file comes from and `image_sources` which folders under `image_root` it needs and where each
    comes from: for the list of what is missing.
    """

    def __init__(self, path: str, *, image_root: str | None = None, task: str = '', root: str = '',
                 split: str | None = None, on_bad_image: str = 'error', limit: int | None = None, source: str = '',
                 image_sources: Mapping[str, str] | None = None):
        problems = _wrong_arguments(split, on_bad_image, limit)
        if problems:
            raise ConfigError(problems)
        self.path, self.task, self.on_bad_image, self.limit = Path(root) / path, task, on_bad_image, limit
        self.image_root = str(Path(root) / (image_root or ''))
        self._index = open_index(self.path, survey=SURVEY)
        found = _wrong_rows(self.path, self._index)
        if found:
            raise DataError('\n'.join(map(str, found)))
        self.split = split or self._index.finding('split')
        self._count = len(self._index) if limit is None else min(limit, len(self._index))

    @classmethod
    def preflight(cls, *, path: str, image_root: str | None = None, root: str = '', split: str | None = None,
                  on_bad_image: str = 'error', limit: int | None = None, source: str = '',
                  image_sources: Mapping[str, str] | None = None, **_: Any) -> list[Problem]:
        """All that is wrong with the arguments, the file, its records and its images; builds the index."""
        problems = _wrong_arguments(split, on_bad_image, limit)
        file = Path(root) / path
        problems += _missing_folders(Path(root) / (image_root or ''), image_sources or {})
        if not file.is_file():
            where = f' Get it from {source}.' if source else ''
            return [*problems, Problem(str(file), f'there is no such file.{where}',
                                       'Put it there, or set data.root to the folder that holds it.')]
        try:
            index = open_index(file, survey=SURVEY)
        except DataError as error:
            return [*problems, Problem('', str(error))]
        folder = str(Path(root) / (image_root or ''))
        return [*problems, *_wrong_rows(file, index), *_wrong_images(file, index, folder, on_bad_image)]

    @property
    def fingerprint(self) -> str:
        """Hash of the file's bytes and of the arguments that change a sample."""
        parts = (self._index.digest, self.split, self.task, self.image_root, self._count)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._count:
            raise IndexError(f'{self.path} has {self._count} samples, none at {index}')
        row = parse_row(self._index.record(index))
        images = tuple(FileImage(path, self.image_root) for path in row.images)
        if self.split == 'train':
            turns = row.turns if row.turns[-1].role == 'gpt' else (*row.turns, Turn('gpt', row.answers[0]))
            return Sample(row.id, self.task, images, turns, (), row.meta)
        turns = row.turns[:-1] if row.turns[-1].role == 'gpt' else row.turns
        return Sample(row.id, self.task, images, turns, row.answers, row.meta)


def _wrong_arguments(split: str | None, on_bad_image: str, limit: int | None) -> list[Problem]:
    problems = []
    if split not in (None, 'train', 'test'):
        problems.append(unknown('InstructionJson: split', 'split', str(split), ('train', 'test')))
    if on_bad_image not in POLICIES:
        problems.append(unknown('InstructionJson: on_bad_image', 'policy', str(on_bad_image), POLICIES))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        problems.append(Problem('InstructionJson: limit', f'{limit!r} given, a whole number from 1 or None wanted.'))
    return problems


def _missing_folders(images: Path, sources: Mapping[str, str]) -> list[Problem]:
    return [Problem(str(images / folder), f'there is no such image folder. Get it from {source}.',
                    'Unpack it there, or set data.root.')
            for folder, source in sources.items() if not (images / folder).is_dir()]


def _wrong_rows(file: Path, index: RecordIndex) -> list[Problem]:
    """What the survey found; an empty file is a problem as well."""
    if not len(index):
        return [Problem(str(file), 'holds no records.', 'Download or write it again.')]
    listed = index.finding('problems')
    problems = [Problem(f'{file}: record {at}' + (f" (id '{name}')" if name else ''), message)
                for at, name, message in listed['first']]
    more = listed['count'] - len(problems)
    return [*problems, Problem(str(file), f'{more} more records are wrong.')] if more else problems


def _wrong_images(file: Path, index: RecordIndex, folder: str, on_bad_image: str) -> list[Problem]:
    images: dict[str, int] = index.finding('images')
    if not images or on_bad_image == 'text_only':
        return []
    if not os.path.isdir(folder):
        return [Problem(str(file), f"its image folder '{folder}' does not exist.", 'Set image_root or data.root.')]
    if on_bad_image != 'error':
        return []
    missing = missing_images(images, folder)
    if not missing:
        return []
    named = ', '.join(f"'{path}' (record {images[path]})" for path in missing[:EXAMPLES])
    return [Problem(str(file), f"{len(missing)} of {len(images)} images are not in '{folder}': {named}"
                    f"{', ...' if len(missing) > EXAMPLES else ''}.",
                    "Unpack the missing archive, correct image_root, or set on_bad_image='skip'.")]
