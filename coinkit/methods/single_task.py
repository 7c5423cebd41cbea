"""SingleTask: T independent experts, theta^(t) = argmin L(theta; D_t), all from the same theta_0; the oracle diagonal.

At test time the expert of the query's task answers, so the task must be known. Expert t depends on task t alone: the
order of training changes nothing, and expert 1 equals FineTune after its first task bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coinkit.methods.fine_tune import FineTune
from coinkit.types import Query


class SingleTask(FineTune):
    """One expert per task, chosen by the task's name."""

    needs_task_id = True

    def coinkit_begin_task(self, state: Any) -> None:
        state.load_stage('00-zero-shot')

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        trained = {task.name: state.stage_of(task.name) for task in state.stream[:state.index + 1]}
        return [trained.get(query.task, state.stage_name) for query in queries]
