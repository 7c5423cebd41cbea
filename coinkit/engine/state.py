"""What hooks see of a run: the stream and where the run is in it, the model and its bank, the strategy, random numbers.

One `RunState` lives as long as the run. Methods read it and act through it; only the runner and the trainer write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from coinkit.data.batch import Batch, ForwardOutput
from coinkit.data.images import BadImagePolicy
from coinkit.data.sampling import Subset
from coinkit.engine import adapters, method_state
from coinkit.engine.asking import ask, likeliest
from coinkit.engine.generation import CPU_TOKEN_BUDGET, evaluating
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.loader import encode_samples
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir
from coinkit.engine.schedule import PhaseSchedule
from coinkit.nn import seeding
from coinkit.types import Dataset, Phase, Sample, Task


@dataclass
class RunState:
    """`index` counts tasks from 0 (-1 before the first); `step` counts finished optimizer steps of the phase.

    `token_mean` is for `coinkit_loss_terms`: it makes one value per labelled token a loss term, weighed as the loss weighs
    its tokens, so that the sum over micro-batches and ranks is the mean over the global batch.
    """

    config: Any
    run: RunDir
    stream: tuple[Task, ...]
    backbone: Any
    strategy: Any
    hooks: Any
    reporter: Reporter
    datasets: Any  # engine.datasets.StreamDatasets: the stream's datasets, built on first use
    interrupt: Interrupt = field(default_factory=Interrupt)
    bank: Any = None
    index: int = -1
    phase: Phase = field(default_factory=Phase)
    step: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    trained: set[str] = field(default_factory=set)  # parameters outside the bank that ever trained: part of the adapter
    token_budget: int = CPU_TOKEN_BUDGET  # padded tokens of a generation batch; the evaluator says
    notes: dict[str, torch.Tensor] = field(default_factory=dict)  # what hooks noted in this step; see `note`
    token_mean: Callable[[torch.Tensor], torch.Tensor] = torch.mean  # the trainer's, while a phase is trained

    def __post_init__(self) -> None:
        self._trains_at_first: frozenset[str] | None = None

    @property
    def task(self) -> Task:
        return self.stream[max(self.index, 0)]

    @property
    def stage_name(self) -> str:
        return RunDir.stage_name(self.index + 1, self.stream)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.strategy.optimizer

    def reset_trained(self) -> None:
        """Outside the bank, train again what trained when the model was prepared: a phase may have narrowed it."""
        of_bank = set(self.bank.trainable_parameters()) if self.bank is not None else set()
        parameters = {name: p for name, p in self.backbone.model.named_parameters() if name not in of_bank}
        if self._trains_at_first is None:
            self._trains_at_first = frozenset(name for name, p in parameters.items() if p.requires_grad)
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in self._trains_at_first)

    def store(self, name: str) -> Path:
        """A folder of the run directory for a method's own files."""
        path = self.run.path / 'methods' / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that trains now, by its name in `backbone.model`."""
        return {name: p for name, p in self.backbone.model.named_parameters() if p.requires_grad}

    def stage_of(self, task: str) -> str:
        """Folder name of the stage after a task: the key under which its adapter can be routed to."""
        return RunDir.stage_name([each.name for each in self.stream].index(task) + 1, self.stream)

    def schedule(self, index: int | None = None) -> PhaseSchedule:
        """The schedule of a task of the stream, by position; default the current task."""
        task = self.task if index is None else self.stream[index]
        return PhaseSchedule.of(self.config.schedule, task.schedule)

    def train_samples(self, index: int | None = None) -> Dataset:
        """The training set of a task of the stream, by position; default the current task."""
        return self.datasets.train(self.index if index is None else index)

    def draw(self, samples: Dataset, count: int) -> Dataset:
        """`count` samples at random by `rng`, none twice; all of them when there are no more.

        Every rank draws the same, except inside a step, where each has random numbers of its own.
        """
        if count >= len(samples):
            return samples
        return Subset(samples, sorted(int(i) for i in self.rng.choice(len(samples), count, replace=False)))

    def note(self, name: str, value: torch.Tensor | float) -> None:
        """Log a number of this step; records hold its mean over steps and ranks.

        A tensor stays on the device until the next log point. All ranks must note the same names. What `coinkit_route`
        notes goes to the ledger's line of the cell.
        """
        self.notes[name] = torch.as_tensor(value, device=self.strategy.device).detach().float()

    def seed(self, *parts: Any) -> None:
        """Start all random numbers from the run's seed, the task and `parts`; `rng` with them."""
        self.rng = seeding.seed_everything(self.config.seed, self.task.name, *parts)

    def generator(self, *parts: Any) -> torch.Generator:
        """For initial values: depends on the run's seed and `parts`, not on what was drawn before."""
        return seeding.generator(self.config.seed, *parts)

    def load_stage(self, name: str) -> None:
        """Put the adapter of a finished stage (`00-zero-shot`, `01-scienceqa`...) into the model."""
        adapters.load(self, self.run.adapter(name))

    def init_source(self) -> tuple[Path, str] | None:
        """Directory and stage of the run that theta_0 was taken from (`init_from`), as long as it is there."""
        from coinkit.engine.init_from import source_stage

        return source_stage(self.config.init_from) if self.config.init_from else None

    def each_batch(self, samples: Dataset, *, grad: bool = False, batch_size: int = 1,
                   label: str = 'data pass') -> Iterator[tuple[Batch, ForwardOutput]]:
        """Forward `samples` in order with a progress bar; every rank sees its share (rank, rank + world size, ...).

        The model is in eval mode: no dropout. Samples that `on_bad_image` skips are left out.
        """
        share = range(self.strategy.rank, len(samples), self.strategy.world_size)
        chunks = [list(share[i:i + batch_size]) for i in range(0, len(share), batch_size)]
        policy = BadImagePolicy(self.config.data.on_bad_image)
        with self.reporter.bar(label, len(share), unit='samples') as bar, evaluating(self.backbone):
            for chunk in chunks:
                self.interrupt.check('the phases trained so far are saved')
                encoded = encode_samples(self.backbone, [samples[i] for i in chunk], training=True, policy=policy)
                if encoded:
                    batch = self.backbone.collate(encoded, padding_side='right').to(self.backbone.device)
                    with torch.set_grad_enabled(grad):
                        output = self.backbone.forward(batch)
                    yield batch, output
                bar.advance(len(chunk))
        if policy.first:
            self.reporter.say(f'{label}: {policy.skipped} samples were skipped and {policy.stripped} used without their '
                              f'picture. First: {policy.first[0]}')

    def ask(self, samples: Sequence[Sample], *, max_new_tokens: int, label: str, path: Path, signature: str) -> list[str]:
        """Greedy answers of the model as it is, in order and on every rank; for `coinkit_route`.

        It shows a bar and goes on where it was interrupted: finished batches lie beside `path` until all are there.
        `signature` must tell weights and questions apart; other batches are not read.
        """
        return ask(self, samples, max_new_tokens=max_new_tokens, label=label, path=path, signature=signature)

    def likeliest(self, samples: Sequence[Sample], ids: Sequence[int], *, after: Sequence[int] = (),
                  label: str) -> list[int]:
        """Position in `ids` of the token with the highest logit behind each prompt and the tokens `after`."""
        return likeliest(self, samples, ids, after=after, label=label)

    def method_state(self) -> Mapping[str, Any]:
        """Every plug-in's resumable state, by plug-in name."""
        return self.hooks.call('coinkit_state_dict', state=self)

    def load_method_state(self, folder: Path) -> None:
        """Put back what `method_state` returned when it was saved in this folder of a stage or checkpoint."""
        method_state.load(self, folder)
