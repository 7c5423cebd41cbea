"""SingleTask: T independent experts, theta^(t) = argmin L(theta; D_t), all from the same theta_0; the oracle diagonal.

At test time the expert of the query's task answers, so the task must be known. Expert t depends on task t alone: the
order of training changes nothing, and expert 1 equals FineTune after its first task bit for bit. Where the benchmark gives
a task another recipe for training alone (`expert_schedule`), `expert_recipe='single'` follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from coinkit.errors import Problem
from coinkit.methods.fine_tune import FineTune
from coinkit.types import Phase, Query


class SingleTask(FineTune):
    """One expert per task, chosen by the task's name."""

    needs_task_id = True
    starts_anew = True
    storage = 'one adapter per task'

    def __init__(self, *, expert_recipe: Literal['single', 'sequential'] = 'single', mode: Literal['lora', 'full'] = 'lora',
                 rank: int = 128, alpha: float = 256.0, dropout: float = 0.05, targets: str | list[str] | None = None,
                 train_projector: bool = True, train_vision: bool = False):
        super().__init__(mode=mode, rank=rank, alpha=alpha, dropout=dropout, targets=targets,
                         train_projector=train_projector, train_vision=train_vision)
        self.expert_recipe = expert_recipe

    @classmethod
    def preflight(cls, *, expert_recipe: str = 'single', **rest: Any) -> list[Problem]:
        """Values no run can use."""
        wrong = Problem('SingleTask: expert_recipe', f"'{expert_recipe}' given, 'single' or 'sequential' allowed.")
        return [*FineTune.preflight(**rest), *([wrong] if expert_recipe not in ('single', 'sequential') else [])]

    def coinkit_begin_task(self, state: Any) -> None:
        state.load_stage('00-zero-shot')

    def coinkit_phases(self, state: Any) -> list[Phase]:
        return [Phase(schedule=dict(state.task.expert_schedule) if self.expert_recipe == 'single' else {})]

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        trained = {task.name: state.stage_of(task.name) for task in state.stream[:state.index + 1]}
        return [trained.get(query.task, state.stage_name) for query in queries]
