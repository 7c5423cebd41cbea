"""Prompts that the model cannot read are found before the first step, not after hours of training.

Tokenising every question of a stream would take long, so the longest of each test set are looked at: by characters, which
is one pass over the records. What hides from this is told when its cell is measured.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from coinkit.errors import BadImage, DataError, Problem
from coinkit.types import Sample

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

LOOKED_AT = 16  # longest questions of a test set
PICTURE = 10_000  # characters that a picture counts as: more pictures come before more words


def check_prompts(state: RunState, tasks: Iterable[int]) -> None:
    """Raises for test sets (by position) that hold a prompt which does not fit. Collective: one rank looks, all raise."""
    problems = [problem for index in tasks for problem in _problems(state, index)] if state.strategy.is_main else []
    problems = state.strategy.gather_json(problems)[0]
    if problems:
        raise DataError('\n'.join(problems))


def _problems(state: RunState, index: int) -> list[str]:
    samples, name = state.datasets.test(index), state.stream[index].name
    for _, position in heapq.nlargest(LOOKED_AT, ((_size(samples[i]), i) for i in range(len(samples)))):
        try:
            state.backbone.prompt_length(samples[position])
        except BadImage:
            continue  # on_bad_image decides, when it is asked
        except DataError as error:
            cure = 'Shorten or remove the record, or leave the task out with tasks=[...].'
            return [str(Problem(f'{name}: test set', str(error), cure))]
    return []


def _size(sample: Sample) -> int:
    return sum(len(turn.text) for turn in sample.turns) + PICTURE * len(sample.images)
