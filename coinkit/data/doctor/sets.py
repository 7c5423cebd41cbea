"""The training and test sets of a benchmark, and what each of them needs on disk."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.config.schema import Benchmark, Data, TaskSection
from coinkit.data.doctor.needs import FileNeeded, FolderNeeded, Needed
from coinkit.errors import ConfigError, Problem
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
    metric: Mapping[str, Any] | None = None  # of a test set

    @property
    def name(self) -> str:
        return f'{self.task} {self.split}'

    def needed(self) -> Sequence[Needed] | None:
        """Its files and folders; None when its class does not tell."""
        tell = getattr(DATASETS.get(self.type), 'inventory', None)
        return None if tell is None else tell(**self.arguments)

    def preflight(self) -> list[Problem]:
        """What its class finds wrong before a run; this also writes the indexes."""
        return ask_preflight(self.type, self.arguments, self.metric)

    def open(self) -> Dataset:
        return DATASETS.build({'type': self.type, **self.arguments})


def ask_preflight(kind: str, arguments: Mapping[str, Any], metric: Mapping[str, Any] | None) -> list[Problem]:
    """What a dataset's class says of these arguments; one whose `preflight` has a `scored_by` is told the metric."""
    check = getattr(DATASETS.get(kind), 'preflight', None)
    if check is None:
        return []
    told = metric is not None and 'scored_by' in inspect.signature(check).parameters
    return check(**{**({'scored_by': metric} if told else {}), **arguments})


def sets_of(benchmark: Benchmark, data: Data) -> list[TaskSet]:
    """Training and test set of every task, with the data settings that their classes take."""
    return [_filled_in(task, split, data) for task in benchmark.tasks for split in ('train', 'test')]


def wrong_needs(sets: Sequence[TaskSet]) -> list[Problem]:
    """What is wrong with arguments that say where files come from: nothing can be looked at before that is mended."""
    problems: list[Problem] = []
    for each in sets:
        try:
            each.needed()
        except ConfigError as error:
            problems += [Problem(f'{each.name}: {one.where}', one.message, one.cure) for one in error.problems]
    return problems


def _filled_in(task: TaskSection, split: str, data: Data) -> TaskSet:
    given = getattr(task, split)
    settings = {'task': task.name, 'split': split, 'root': data.root, 'on_bad_image': data.on_bad_image}
    accepted = inspect.signature(DATASETS.get(given['type'])).parameters
    arguments = {**{key: value for key, value in settings.items() if key in accepted}, **given}
    kind = arguments.pop('type')
    return TaskSet(task.name, split, kind, arguments, getattr(task.published, split),
                   arguments.get('on_bad_image', data.on_bad_image), task.metric if split == 'test' else None)


def files_of(needed: Sequence[Needed]) -> list[FileNeeded]:
    return [each for each in needed if isinstance(each, FileNeeded)]


def folders_of(needed: Sequence[Needed]) -> list[FolderNeeded]:
    return [each for each in needed if isinstance(each, FolderNeeded)]
