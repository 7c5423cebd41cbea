"""The training and test sets of a benchmark, and what each of them needs on disk."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.config.schema import Benchmark, Data
from coinkit.data.doctor.needs import FileNeeded, FolderNeeded, Needed
from coinkit.errors import Problem
from coinkit.registry import DATASETS
from coinkit.types import Dataset


@dataclass(frozen=True)
class TaskSet:
    """One split of a task."""

    task: str
    split: str
    type: str
    arguments: Mapping[str, Any]
    published: int | None
    on_bad_image: str

    @property
    def name(self) -> str:
        return f'{self.task} {self.split}'

    def needed(self) -> Sequence[Needed] | None:
        """Its files and folders; None when its class does not tell."""
        tell = getattr(DATASETS.get(self.type), 'inventory', None)
        return None if tell is None else tell(**self.arguments)

    def preflight(self) -> list[Problem]:
        """What its class finds wrong before a run; this also writes the indexes."""
        check = getattr(DATASETS.get(self.type), 'preflight', None)
        return [] if check is None else check(**self.arguments)

    def open(self) -> Dataset:
        return DATASETS.build({'type': self.type, **self.arguments})


def sets_of(benchmark: Benchmark, data: Data) -> list[TaskSet]:
    """Training and test set of every task, with the data settings that their classes take."""
    return [_filled_in(task.name, split, getattr(task, split), getattr(task.published, split), data)
            for task in benchmark.tasks for split in ('train', 'test')]


def _filled_in(task: str, split: str, given: Mapping[str, Any], published: int | None, data: Data) -> TaskSet:
    settings = {'task': task, 'split': split, 'root': data.root, 'on_bad_image': data.on_bad_image}
    accepted = inspect.signature(DATASETS.get(given['type'])).parameters
    arguments = {**{key: value for key, value in settings.items() if key in accepted}, **given}
    kind = arguments.pop('type')
    return TaskSet(task, split, kind, arguments, published, arguments.get('on_bad_image', data.on_bad_image))


def files_of(needed: Sequence[Needed]) -> list[FileNeeded]:
    return [each for each in needed if isinstance(each, FileNeeded)]


def folders_of(needed: Sequence[Needed]) -> list[FolderNeeded]:
    return [each for each in needed if isinstance(each, FolderNeeded)]
