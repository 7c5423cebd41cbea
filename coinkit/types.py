"""The values that travel through coinkit: what a sample, a task, a prediction and a score are.

Plain frozen dataclasses without torch, so that listing, validation, scoring and analysis start in a fraction of a second.
A sample flows dataset -> backbone -> model; a prediction flows from disk -> metric -> matrix -> report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_TAG = '<image>'  # a picture in the text of a record
BAD_IMAGE = 'bad_image'  # in a prediction's context: what `on_bad_image` made of a test sample, 'skip' or 'text_only'


@runtime_checkable
class ImageSource(Protocol):
    """A picture that is opened only when a worker needs it.

    It may have `size` as well, (width, height) read without decoding; else batches are planned by opening it.
    """

    @property
    def key(self) -> str:
        """Identity of the picture: equal keys mean equal pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, without decoding the picture where its format allows; raises `BadImage` as `load` does."""

    def load(self) -> Image:
        """Decode the picture to RGB; raises `coinkit.errors.BadImage` naming the file when it cannot."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. `role` is 'human' or 'gpt', as in LLaVA's records."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a task.

    `turns` of a training sample end with a 'gpt' turn; those of a test sample with a 'human' turn, and its gold answers
    are in `references`. `meta` is the scorer's context (choices, image size...); it must be JSON-able.
    """

    id: str
    task: str
    images: tuple[ImageSource, ...]
    turns: tuple[Turn, ...]
    references: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """What routing may see of a test sample: no references and no task, unless the method declares `needs_task_id`."""

    id: str
    images: tuple[ImageSource, ...]
    turns: tuple[Turn, ...]
    task: str | None = None


@runtime_checkable
class Dataset(Protocol):
    """A task's records by position. Reading record i twice gives equal samples."""

    @property
    def fingerprint(self) -> str:
        """Short hash of the content: equal fingerprints mean equal samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a stream, as the benchmark config describes it. Component fields hold `dict(type=..., ...)`."""

    name: str
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    metric: Mapping[str, Any]
    generation: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)  # overrides of the run's schedule for this task
    description: str = ''
    expert_schedule: Mapping[str, Any] = field(default_factory=dict)  # further overrides where a task is trained alone
    template: str = ''  # pattern of the instruction in its questions
    letter: str = ''  # of its expert, where a router names one

    @property
    def slug(self) -> str:
        """Name as used in file names: `OCR-VQA` -> `ocr-vqa`."""
        return ''.join(c if c.isalnum() or c in '-_.' else '-' for c in self.name.lower())


@dataclass(frozen=True, slots=True)
class Phase:
    """One training phase of a task: what is trained on which samples under which schedule.

    `samples` is a Dataset (or None for the task's own training set); `schedule` overrides the task's schedule;
    `trains` names parameter groups ('adapter', 'projector', ...) or is empty for everything that is trainable.
    """

    name: str = 'fit'
    samples: Dataset | None = None
    trains: tuple[str, ...] = ()
    schedule: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of a predictions file."""

    id: str
    prediction: str
    references: tuple[str, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)
    route: str | None = None

    @property
    def skipped(self) -> bool:
        """Its picture could not be used and `on_bad_image='skip'`: there is no answer, and it counts as wrong."""
        return self.context.get(BAD_IMAGE) == 'skip'

    def to_json(self) -> dict[str, Any]:
        """The line as stored: `route` only where there is one."""
        line = {'id': self.id, 'prediction': self.prediction, 'references': list(self.references),
                'context': dict(self.context)}
        return line if self.route is None else {**line, 'route': self.route}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Prediction:
        return cls(str(line['id']), line['prediction'], tuple(line.get('references', ())), line.get('context', {}),
                   line.get('route'))


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's verdict: percent 0-100 unrounded (None when undefined), per sample 0-1 where the metric has it."""

    value: float | None
    per_sample: tuple[float, ...] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)  # items, missing, unparsed...
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Metric(Protocol):
    """Maps a task's predictions to a Score; options are constructor arguments."""

    name: str

    def score(self, predictions: Sequence[Prediction]) -> Score: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One scored cell of the matrix: `stage` 0 is the zero-shot row, stage i >= 1 is after task i."""

    stage: int
    task: str
    score: float | None
    count: int
    metric: str


@dataclass(frozen=True, slots=True)
class ScoreMatrix:
    """Row i = after stage i+1, column j = task j, percent 0-100; None where not measured. Schema coinkit.matrix/1."""

    tasks: tuple[str, ...]
    scores: tuple[tuple[float | None, ...], ...]
    zero_shot: tuple[float | None, ...] | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    SCHEMA = 'coinkit.matrix/1'

    def to_json(self) -> dict[str, Any]:
        return {'schema': self.SCHEMA, 'tasks': list(self.tasks), 'metrics': dict(self.metrics),
                'counts': dict(self.counts), 'zero_shot': None if self.zero_shot is None else list(self.zero_shot),
                'scores': [list(row) for row in self.scores]}

    @classmethod
    def from_json(cls, blob: Mapping[str, Any]) -> ScoreMatrix:
        zero = blob.get('zero_shot')
        return cls(tuple(blob['tasks']), tuple(tuple(row) for row in blob['scores']),
                   None if zero is None else tuple(zero), blob.get('metrics', {}), blob.get('counts', {}))
