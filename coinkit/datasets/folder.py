"""A task that is a folder: train.jsonl or train.json, test.jsonl or test.json, and the pictures beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coinkit.data.doctor.needs import Needed
from coinkit.datasets.instructions import InstructionJson
from coinkit.errors import ConfigError, Problem, unknown

SUFFIXES = ('jsonl', 'json')
SPLITS = ('train', 'test')


class Folder(InstructionJson):
    """One split of a task's folder; its rows are InstructionJson's, their pictures are relative to the folder."""

    def __init__(self, path: str, *, split: str = 'train', task: str = '', root: str = '', on_bad_image: str = 'error',
                 limit: int | None = None):
        if problems := _wrong_split(split):
            raise ConfigError(problems)
        super().__init__(_files(path, split), image_root=path, task=task, root=root, split=split,
                         on_bad_image=on_bad_image, limit=limit)

    @classmethod
    def preflight(cls, *, path: str, split: str = 'train', scored_by: Mapping[str, Any] | None = None,
                  **given: Any) -> list[Problem]:  # type: ignore[override]
        """As InstructionJson's, of the split's file."""
        problems = _wrong_split(split)
        return problems or super().preflight(path=_files(path, split), image_root=path, split=split, scored_by=scored_by,
                                             **given)

    @classmethod
    def inventory(cls, *, path: str, split: str = 'train', **given: Any) -> list[Needed]:  # type: ignore[override]
        """As InstructionJson's."""
        return super().inventory(path=_files(path, split), image_root=path, **given)


def _files(path: str, split: str) -> list[str]:
    return [f'{path}/{split}.{suffix}' for suffix in SUFFIXES]


def _wrong_split(split: str) -> list[Problem]:
    return [] if split in SPLITS else [unknown('Folder: split', 'split', str(split), SPLITS)]
