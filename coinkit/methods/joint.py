"""Joint: one adapter on the shuffled union of all tasks, L = sum_t sum_{x in D_t} l(x) / sum_t |D_t|; usual upper bound.

One stage, written as the last row of the matrix. `joint_steps='match'` spends as many optimizer steps as the sequential
run of the same config; 'pass' makes `joint_epochs` passes over the union. `joint_mix` gives task t the share w_t / sum w of
all samples seen: 'proportional' w_t = |D_t| (the union itself), 'uniform' w_t = 1, 'temperature:x' w_t = |D_t|^(1/x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from coinkit.data.references import quota
from coinkit.data.sampling import Mix, Subset
from coinkit.errors import Problem
from coinkit.methods.fine_tune import FineTune
from coinkit.types import Dataset, Phase

TEMPERATURE = 'temperature:'


class Joint(FineTune):
    """Multi-task training on all tasks at once."""

    evaluates = 'last'

    def __init__(self, *, joint_steps: Literal['match', 'pass'] = 'match', joint_mix: str = 'proportional',
                 joint_epochs: float = 1.0, mode: Literal['lora', 'full'] = 'lora', rank: int = 128, alpha: float = 256.0,
                 dropout: float = 0.05, targets: str | list[str] | None = None, train_projector: bool = True,
                 train_vision: bool = False):
        super().__init__(mode=mode, rank=rank, alpha=alpha, dropout=dropout, targets=targets,
                         train_projector=train_projector, train_vision=train_vision)
        self.joint_steps, self.joint_mix, self.joint_epochs = joint_steps, joint_mix, joint_epochs

    @classmethod
    def preflight(cls, *, joint_steps: str = 'match', joint_mix: str = 'proportional', joint_epochs: float = 1.0,
                  **rest: Any) -> list[Problem]:
        """Values no run can use."""
        problems = FineTune.preflight(**rest)
        if joint_steps not in ('match', 'pass'):
            problems.append(Problem('Joint: joint_steps', f"'{joint_steps}' given, 'match' or 'pass' allowed."))
        if exponent(joint_mix) is None:
            problems.append(Problem('Joint: joint_mix', f"'{joint_mix}' given, 'proportional', 'uniform' or 'temperature:x' "
                                    'with a number x above 0 allowed.'))
        if joint_epochs <= 0 or joint_steps == 'match' and joint_epochs != 1:
            problems.append(Problem('Joint: joint_epochs', f"{joint_epochs} given with joint_steps='{joint_steps}'; "
                                    "a number above 0 is allowed with 'pass', 1 with 'match'.", "Set joint_steps='pass'."))
        return problems

    def coinkit_begin_task(self, state: Any) -> None:
        if state.index == len(state.stream) - 1:
            state.load_stage('00-zero-shot')  # also when tasks were appended to a finished run: the union grew

    def coinkit_phases(self, state: Any) -> list[Phase]:
        if state.index < len(state.stream) - 1:
            return []
        parts = [state.train_samples(index) for index in range(len(state.stream))]
        schedule, batch_size = vars(state.config.schedule), state.config.schedule.global_batch_size
        sizes = [len(part) for part in parts]
        if self.joint_steps == 'pass':
            steps, seen = None, math.ceil(self.joint_epochs * sum(sizes))
        else:
            steps = sum(state.schedule(index).num_steps(size) for index, size in enumerate(sizes))
            seen = steps * batch_size
        if self.joint_mix == 'proportional':
            return [Phase(samples=Mix(*parts), schedule={**schedule, 'steps': steps, 'epochs': self.joint_epochs})]
        counts = share_out(seen, [size ** exponent(self.joint_mix) for size in sizes])
        union = Mix(*(part for index, (part, count) in enumerate(zip(parts, counts, strict=True))
                      for part in repeated(part, count, state.generator('Joint', index))))
        return [Phase(samples=union, schedule={**schedule, 'steps': steps, 'epochs': 1.0})]


def exponent(joint_mix: str) -> float | None:
    """e in w_t = |D_t|^e; None when `joint_mix` is no known word."""
    known = {'proportional': 1.0, 'uniform': 0.0}
    number = joint_mix.removeprefix(TEMPERATURE) if joint_mix.startswith(TEMPERATURE) else ''
    try:
        return known[joint_mix] if joint_mix in known else 1 / float(number) if float(number) > 0 else None
    except ValueError:
        return None


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """`total` in whole numbers proportional to the weights; what rounding leaves goes to the largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[:total - sum(counts)]:
        counts[index] += 1
    return counts


def repeated(dataset: Dataset, count: int, generator: Any) -> list[Dataset]:
    """`count` samples: the whole set as often as it fits, then a random part of it."""
    times, rest = divmod(count, len(dataset))
    return [dataset] * times + ([Subset(dataset, quota(len(dataset), rest, generator))] if rest else [])
