"""The stream's datasets: built from the task configs on first use, with the run's data settings filled in.

`data.root`, `data.on_bad_image` and the task's name reach every dataset class that takes such an argument, so that task
configs do not repeat them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from coinkit.data.doctor.sets import ask_preflight
from coinkit.data.sampling import Subset
from coinkit.errors import DataError, Problem
from coinkit.registry import DATASETS
from coinkit.types import Dataset, Task


class StreamDatasets:
    """Training and test sets by position in the stream; opened once."""

    def __init__(self, stream: Sequence[Task], data: Any, *, limit: int | None = None):
        self.stream, self.data, self.limit = stream, data, limit
        self._open: dict[tuple[int, str], Dataset] = {}

    def train(self, index: int) -> Dataset:
        return self._get(index, 'train')

    def test(self, index: int) -> Dataset:
        """The test set, cut at `evaluation.limit` samples."""
        dataset = self._get(index, 'test')
        return dataset if self.limit is None or len(dataset) <= self.limit else Subset(dataset, range(self.limit))

    def _get(self, index: int, split: str) -> Dataset:
        if (index, split) not in self._open:
            dataset = DATASETS.build(self.arguments(index, split))
            if len(dataset) == 0:
                raise DataError(f'{self.stream[index].name}: the {split} set is empty. Look at the file it names.')
            self._open[index, split] = dataset
        return self._open[index, split]

    def arguments(self, index: int, split: str) -> dict[str, Any]:
        """The config of a task's set, filled in."""
        task = self.stream[index]
        return self.filled_in(task.train if split == 'train' else task.test, split=split, task=task.name)

    def filled_in(self, given: Mapping[str, Any], *, split: str, task: str) -> dict[str, Any]:
        """A dataset's config with the run's settings where its class takes them and the config does not set them."""
        settings = {'task': task, 'split': split, 'root': self.data.root, 'on_bad_image': self.data.on_bad_image}
        accepted = inspect.signature(DATASETS.get(given['type'])).parameters
        return {**{key: value for key, value in settings.items() if key in accepted}, **given}

    def build(self, given: Mapping[str, Any], *, task: str) -> Dataset:
        """A training set that a method's config names, beside those of the stream."""
        return DATASETS.build(self.filled_in(given, split='train', task=task))

    def preflight(self) -> list[Problem]:
        """What is missing or malformed, over the whole stream, without decoding a picture."""
        problems: list[Problem] = []
        for index in range(len(self.stream)):
            for split in ('train', 'test'):
                metric = self.stream[index].metric if split == 'test' else None
                problems += dataset_problems(self.arguments(index, split), metric)
        return list(dict.fromkeys(problems))  # train and test of a task share image folders

    def problems_of(self, given: Mapping[str, Any], *, task: str) -> list[Problem]:
        """The same for a training set that a method's config names."""
        return dataset_problems(self.filled_in(given, split='train', task=task))


def dataset_problems(arguments: Mapping[str, Any], metric: Mapping[str, Any] | None = None) -> list[Problem]:
    """What a dataset's own `preflight` says; `metric`: the one that scores it."""
    arguments = dict(arguments)
    return ask_preflight(arguments.pop('type'), arguments, metric)
