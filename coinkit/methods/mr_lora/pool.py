"""The experts as the router is told of them: letters, names and descriptions of the benchmark's tasks, and the wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.methods.mr_lora.letters import assign_letters
from coinkit.methods.mr_lora.prompts import Expert, RoutingQuestions, read_prompt, shipped_prompts
from coinkit.types import Sample, Task, Turn


@dataclass(frozen=True)
class Pool:
    """`letters` are chosen by task, the others are the benchmark's or follow the stream; `prompt` None = the benchmark's."""

    alphabet: str
    letters: dict[str, str]
    prompt: str | None

    def letters_of(self, stream: Sequence[Task]) -> dict[str, str]:
        return assign_letters(stream, self.alphabet, self.letters)

    def experts(self, stream: Sequence[Task], count: int) -> list[Expert]:
        """The first `count` of the stream, by letter."""
        letters = self.letters_of(stream)
        return sorted((Expert(letters[task.name], task.name, task.description) for task in stream[:count]),
                      key=lambda expert: expert.letter)

    def questions(self, state: Any, count: int) -> RoutingQuestions:
        """Questions about the first `count` experts."""
        prompt = read_prompt(self.prompt or self._own_prompt(state.config))
        return RoutingQuestions(state.backbone, prompt, self.experts(state.stream, count))

    def _own_prompt(self, config: Any) -> str:
        """The mini models have a wording of their own: their context is small."""
        name = 'mini' if config.backbone.get('checkpoint') == 'mini' else config.benchmark.name
        return name if name in shipped_prompts() else 'default'

    def check_fit(self, state: Any) -> None:
        """The prompt for all experts of the stream fits the context: known before the first step."""
        record = state.train_samples(0)[0]
        self.questions(state, len(state.stream)).ask(Sample(record.id, '', record.images, (Turn('human', ''),)))
