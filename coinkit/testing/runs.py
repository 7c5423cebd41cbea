"""Looking into runs from tests: a finished run opened again, what training changed, how far two ends are apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from coinkit.engine import adapters, builder
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir
from coinkit.engine.runner import Runner
from coinkit.engine.strategies import make_strategy
from coinkit.engine.trainer import PhaseTrainer
from coinkit.types import Sample, Task


class OpenRun:
    """A run directory with its model, to restore stages and to ask for routes."""

    def __init__(self, runner: Runner):
        self.runner, self.state = runner, runner.state
        self.knows_task = runner.evaluator.knows_task
        self.evaluates = builder.evaluates(runner.state)

    def stages(self) -> list[str]:
        """Finished stages that have an adapter, in order."""
        return [record['stage'] for record in self.runner.ledger.all('stage_done')
                if record['adapter_sha256'] is not None] or ['00-zero-shot']

    def restore(self, stage: str) -> None:
        self.runner._restore(stage)

    def tensors(self) -> dict[str, Tensor]:
        return adapters.tensors(self.state)

    def test_samples(self, index: int) -> list[Sample]:
        dataset = self.state.datasets.test(index)
        return [dataset[i] for i in range(len(dataset))]

    def routes(self, task: Task, samples: Sequence[Sample]) -> list[str] | None:
        return self.runner.evaluator._routes(task, samples)


@contextmanager
def opened(config: Any, folder: Path) -> Iterator[OpenRun]:
    """The run in `folder`, or a new one there, with its model built and nothing trained."""
    strategy = make_strategy({'type': 'OneDevice'}, device='cpu')
    strategy.setup()
    try:
        run = RunDir(folder)
        folder.mkdir(parents=True, exist_ok=True)
        yield OpenRun(Runner(config, run, run.open_ledger(writable=False), strategy=strategy,
                             reporter=Reporter(active=False), interrupt=Interrupt()))
    finally:
        strategy.teardown()


@dataclass
class Seen:
    """Parameters outside the bank and of it that a run declared trainable, and those that are not what they were."""

    declared: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)


@contextmanager
def watched() -> Iterator[Seen]:
    """Compares the model of the run inside with itself before the first step."""
    seen, states = Seen(), []
    build, step = builder.build_state, PhaseTrainer._step
    before: dict[str, Tensor] = {}

    def remember(*args: Any, **kwargs: Any) -> Any:
        state = build(*args, **kwargs)
        states.append(state)
        before.update({name: p.detach().clone() for name, p in state.backbone.model.named_parameters()})
        return state

    def declare(trainer: PhaseTrainer, *args: Any, **kwargs: Any) -> Any:
        seen.declared |= set(trainer.state.trainable())
        return step(trainer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, 'build_state', remember)
        patch.setattr(PhaseTrainer, '_step', declare)
        yield seen
    for name, parameter in states[-1].backbone.model.named_parameters():
        if name not in before or not torch.equal(before[name], parameter.detach()):
            seen.changed.add(name)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Euclidean, over all tensors of both."""
    return sum((a[name].double() - b[name].double()).square().sum().item() for name in a) ** 0.5


def numbers_in(value: Any) -> int:
    """Elements of all tensors in a nested state; single numbers, strings and references are book-keeping."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, Mapping):
        return sum(numbers_in(one) for one in value.values())
    return sum(numbers_in(one) for one in value) if isinstance(value, list | tuple) else 0
