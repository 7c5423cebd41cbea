"""What a config may say: one typed, frozen dataclass per section, with units and the papers' values beside the fields.

Components are plain `dict(type='Name', ...)`: their arguments are checked against the component's own signature.
`bounds(...)` carries a field's range; `validation.py` reads types and ranges from here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from coinkit.types import Task

Component = Mapping[str, Any]  # dict(type='Name', **arguments of the component)


def bounds(default: Any = MISSING, *, low: float | None = None, above: float | None = None, high: float | None = None,
           below: float | None = None) -> Any:
    """A numeric field and its range: low <= x <= high, above < x < below."""
    given = {'low': low, 'above': above, 'high': high, 'below': below}
    metadata = {'bounds': {key: value for key, value in given.items() if value is not None}}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def component(kind: str, default: Any = MISSING) -> Any:
    """A field that holds one component (or a list of them) of a registry."""
    if default is MISSING:
        return field(metadata={'kind': kind})
    return field(default_factory=lambda: dict(default), metadata={'kind': kind})


def is_public(item: Field) -> bool:
    """Is this field a key of the config, not book-keeping?"""
    return not item.metadata.get('internal', False)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Greedy decoding of one task."""

    max_new_tokens: int = bounds(128, low=1)  # CoIN's scripts: 128, or 1024 on four tasks


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How one task is trained. A task's own `schedule=dict(...)` overrides single fields."""

    lr: float = bounds(above=0)  # CoIN LLaVA: 2e-4
    global_batch_size: int = bounds(low=1)  # samples per optimizer step, whatever the number of processes
    micro_batch_size: int = bounds(low=1)  # samples per forward and process; divides the global batch
    epochs: float = bounds(1.0, above=0)  # passes over the task's training set; CoIN: 1
    steps: int | None = bounds(None, low=1)  # optimizer steps; replaces `epochs`
    projector_lr: float | None = bounds(None, above=0)  # None: as `lr` (CoIN's effective value; its flag says 2e-5)
    weight_decay: float = bounds(0.0, low=0)
    betas: tuple[float, float] = bounds((0.9, 0.999), low=0, below=1)
    eps: float = bounds(1e-8, above=0)
    warmup_ratio: float = bounds(0.03, low=0, high=1)  # share of a task's steps
    warmup_steps: int | None = bounds(None, low=0)  # optimizer steps; replaces `warmup_ratio`
    lr_schedule: Literal['cosine', 'warmup_log', 'constant', 'linear'] = 'cosine'  # 'warmup_log': DeepSpeed's WarmupLR
    grad_clip: float = bounds(1.0, low=0)  # norm; 0 = off
    loss_norm: Literal['tokens', 'microbatch'] = 'tokens'  # 'microbatch': the research code's mean of means
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class ScheduleMini:
    """Which schedule fields --mini replaces; `rank` replaces the methods' rank at constant alpha/rank."""

    rank: int | None = bounds(None, low=1)


@dataclass(frozen=True, kw_only=True)
class TaskMini:
    """The stand-in of a task under --mini: a block with `type` replaces the task's, one without changes single keys."""

    train: Component | None = component('dataset', {})
    test: Component | None = component('dataset', {})
    metric: Component | None = component('metric', {})
    generation: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Rows of a task's files as the paper or the data card counts them; None where nobody did."""

    train: int | None = bounds(None, low=1)
    test: int | None = bounds(None, low=1)


@dataclass(frozen=True, kw_only=True)
class Download:
    """Files of a hub repository, which `coinkit data --download` fetches below data.root."""

    repo: str  # 'owner/name'
    kind: Literal['dataset', 'model'] = 'dataset'
    revision: str = 'main'
    files: tuple[str, ...] = ()  # patterns such as 'RS/*'; none: all files
    to: str = ''  # folder below data.root
    unpack: bool = True  # zip and tar archives are unpacked where they lie
    size: str = ''  # of all of it: '18 GiB'


@dataclass(frozen=True, kw_only=True)
class TaskSection:
    """One task of the benchmark."""

    name: str
    train: Component = component('dataset')
    test: Component = component('dataset')
    metric: Component = component('metric')
    generation: Generation = field(default_factory=Generation)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    description: str = ''
    expert_schedule: Mapping[str, Any] = field(default_factory=dict)  # beyond `schedule`, where a task is trained alone
    template: str = ''  # the pattern that finds the instruction in its questions; '': it is the last line
    letter: str = ''  # by which MRLoRA's router names its expert; '': they are given in the order of the stream
    mini: TaskMini | None = None
    published: Published = field(default_factory=Published, compare=False)  # for `coinkit data`

    def task(self) -> Task:
        """The task as the rest of coinkit sees it."""
        return Task(self.name, dict(self.train), dict(self.test), dict(self.metric),
                    {'max_new_tokens': self.generation.max_new_tokens}, dict(self.schedule), self.description,
                    dict(self.expert_schedule), self.template, self.letter)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """An ordered stream of tasks and its other published orders."""

    name: str
    tasks: tuple[TaskSection, ...]
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # name -> task names
    style: str | None = None  # how instructions are worded; a benchmark that has several names them
    templates: tuple[str, ...] = ()  # patterns for a question whose task is not known; else its last line is the instruction
    downloads: tuple[Download, ...] = field(default=(), compare=False)  # for `coinkit data`
    instructions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # style -> task -> how converters ask


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the data lies and how it is read."""

    root: str = 'data'  # relative dataset paths are under it
    on_bad_image: Literal['error', 'skip', 'text_only'] = 'error'  # 'skip': not trained on; as a test sample it is wrong
    workers: int = bounds(4, low=0)  # threads that decode images


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Which cells of the matrix are measured."""

    policy: Literal['seen', 'all', 'last'] = 'seen'  # after stage i: tasks 1..i, every task, or only task i
    zero_shot: bool = False  # row 0: every task before training
    token_budget: int | None = bounds(None, low=1)  # tokens per generation batch; None: probed once
    limit: int | None = bounds(None, low=1)  # samples per test set; None: all
    max_new_tokens: int | None = bounds(None, low=1)  # of every task's answers; None: the task's own length


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How often a task under way is saved (and always at its end)."""

    every_steps: int | None = bounds(None, low=1)
    every_minutes: float | None = bounds(10.0, above=0)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, resolved and valid. Fields are the config's keys; `source` is the file."""

    backbone: Component = component('backbone')
    benchmark: Benchmark
    methods: tuple[Component, ...] = component('method')
    schedule: Schedule
    data: Data = field(default_factory=Data)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    strategy: Component = component('strategy', {'type': 'auto'})
    seed: int = bounds(0, low=0)
    seeds: tuple[int, ...] | None = bounds(None, low=0)  # one run per seed, RUN/seed-N/
    order: str | tuple[str, ...] | None = None  # a name in benchmark.orders, or task names
    orders: tuple[str, ...] | None = None  # one run per order, RUN/order-NAME/
    tasks: tuple[str, ...] | None = None  # keep only these tasks; their order is the benchmark's, or `order`
    plugins: tuple[str, ...] = ()  # files (relative to this config) or dotted modules
    init_from: str | None = None  # 'RUN[:stage]', a PEFT folder or CoIN's MoELoRA folder
    compat: Literal['coin', 'lcia', 'mllm_cl'] | None = None  # restores what a published number depends on
    projector_carry: Literal['fixed', 'upstream'] = 'fixed'  # 'upstream': re-initialised for each task (CoIN's bug)
    deterministic: bool = False  # byte-equal resume on GPU, slower
    work_dir: str | None = None  # None: work_dirs/<name of the config>
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    mini: bool = False  # --mini: the embedded backbone, the mini tasks, the mini schedule

    source: Path = field(default=Path('config.py'), compare=False, metadata={'internal': True})  # the run file

    @property
    def name(self) -> str:
        """Name of the run file without folder and suffix."""
        return self.source.stem

    @property
    def tree(self) -> dict[str, Any]:
        """The whole config as plain dicts and lists, defaults included."""
        return _plain(self)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        items = {item.name: getattr(value, item.name) for item in fields(value) if is_public(item)}
        for name in ('mini', 'published') if isinstance(value, TaskSection) else ():
            del items[name]  # used up when the config was resolved; of no use to a run
        if isinstance(value, Benchmark):
            del items['downloads']
        return {name: _plain(item) for name, item in items.items()}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def construct(section: Any, value: Any) -> Any:
    """A section from its valid tree; lists become tuples, components stay dicts, `mini` blocks are dropped."""
    if is_dataclass(section):
        hints = get_type_hints(section)
        known = {item.name: item for item in fields(section) if is_public(item) and item.name in value}
        return section(**{name: _construct_field(item, hints[name], value[name]) for name, item in known.items()})
    inner = [each for each in get_args(section) if is_dataclass(each)]
    if inner and value is not None:
        many = get_origin(section) is tuple
        return tuple(construct(inner[0], each) for each in value) if many else construct(inner[0], value)
    return _frozen(value)


def _construct_field(item: Field, kind: Any, value: Any) -> Any:
    if item.metadata.get('kind') == 'backbone':
        return {name: each for name, each in value.items() if name != 'mini'}
    if 'kind' in item.metadata:
        return tuple(dict(each) for each in value) if item.name == 'methods' else dict(value or {})
    if item.name == 'mini' and not isinstance(value, bool):
        return None
    return float(value) if kind is float else construct(kind, value)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _frozen(each) for name, each in value.items()}
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value
