"""Joint: one adapter on the shuffled union of all tasks, L = sum_t sum_{x in D_t} l(x) / sum_t |D_t|; usual upper bound.

One stage, written as the last row of the matrix. `joint_steps='match'` spends as many optimizer steps as the sequential
run of the same config; 'pass' makes `schedule.epochs` passes over the union.
"""

from __future__ import annotations

from typing import Any, Literal

from coinkit.methods.fine_tune import FineTune
from coinkit.types import Phase


class Joint(FineTune):
    """Multi-task training on all tasks at once."""

    evaluates = 'last'

    def __init__(self, *, joint_steps: Literal['match', 'pass'] = 'match', mode: Literal['lora', 'full'] = 'lora',
                 rank: int = 128, alpha: float = 256.0, dropout: float = 0.05, targets: str | list[str] | None = None,
                 train_projector: bool = True, train_vision: bool = False):
        super().__init__(mode=mode, rank=rank, alpha=alpha, dropout=dropout, targets=targets,
                         train_projector=train_projector, train_vision=train_vision)
        self.joint_steps = joint_steps

    def coinkit_begin_task(self, state: Any) -> None:
        if state.index == len(state.stream) - 1:
            state.load_stage('00-zero-shot')  # also when tasks were appended to a finished run: the union grew

    def coinkit_phases(self, state: Any) -> list[Phase]:
        if state.index < len(state.stream) - 1:
            return []
        from coinkit.data.sampling import Mix

        parts = [state.train_samples(index) for index in range(len(state.stream))]
        steps = None if self.joint_steps == 'pass' else sum(
            state.schedule(index).num_steps(len(part)) for index, part in enumerate(parts))
        return [Phase(samples=Mix(*parts), schedule={**vars(state.config.schedule), 'steps': steps})]
