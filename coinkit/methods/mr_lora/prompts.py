"""What the router is asked: the parts of its prompt, in a JSON file per benchmark, and how a record becomes a question.

The parts stand in the order of PARTS, one per line: role, task, instructions, the pool with a line per expert, the
user's question, a closing line. The picture is put in front by the backbone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinkit.errors import BadImage, ConfigError, DataError, Problem
from coinkit.types import IMAGE_TAG, Query, Sample, Turn

FOLDER = Path(__file__).parent / 'prompts'
PARTS = ('role', 'task', 'instructions', 'pool', 'expert', 'question', 'closing')
ROOM = 8  # tokens kept free for the letter and the end of the answer


@dataclass(frozen=True)
class Expert:
    """One line of the pool."""

    letter: str
    name: str
    description: str


@dataclass(frozen=True)
class RoutingPrompt:
    """The parts as format strings: `{count}`, `{names}`; in `expert` `{letter}`, `{name}`, `{description}`; `{question}`."""

    parts: Mapping[str, str]

    def text(self, experts: Sequence[Expert], question: str) -> str:
        """The prompt without its picture."""
        common = {'count': len(experts), 'names': ', '.join(expert.name for expert in experts)}
        lines = []
        for part in PARTS:
            for expert in experts if part == 'expert' else experts[:1]:
                lines.append(self.parts[part].format(**common, question=question, letter=expert.letter, name=expert.name,
                                                     description=expert.description or expert.name))
        return '\n'.join(lines)


def read_prompt(name: str) -> RoutingPrompt:
    """A shipped prompt by name, or a JSON file."""
    path = Path(name) if name.endswith('.json') else FOLDER / f'{name}.json'
    problems = prompt_problems(name)
    if problems:
        raise ConfigError(problems)
    return RoutingPrompt(json.loads(path.read_text(encoding='utf-8')))


def shipped_prompts() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob('*.json'))


def prompt_problems(name: str) -> list[Problem]:
    """A file that is missing or lacks a part, or a part that cannot be filled in."""
    where, path = 'methods: prompt', Path(name) if name.endswith('.json') else FOLDER / f'{name}.json'
    try:
        parts = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return [Problem(where, f"'{name}' given, allowed: {', '.join(shipped_prompts())}, or a JSON file.")]
    except (OSError, ValueError) as error:
        return [Problem(f'{where}: {path}', f'cannot be read as JSON ({error}).')]
    if not isinstance(parts, Mapping) or set(parts) != set(PARTS) or not all(isinstance(one, str) for one in parts.values()):
        return [Problem(f'{where}: {path}', f'needs the strings {", ".join(PARTS)} and no other.')]
    try:
        RoutingPrompt(parts).text([Expert('A', 'name', 'description')], 'question')
    except (KeyError, IndexError, ValueError) as error:
        return [Problem(f'{where}: {path}', f'a part cannot be filled in ({type(error).__name__}: {error}).',
                        'Allowed: {count}, {names}, {letter}, {name}, {description}, {question}.')]
    if '{question}' not in parts['question'] or '{letter}' not in parts['expert']:
        return [Problem(f'{where}: {path}', 'the question part needs {question}, the expert part {letter}.')]
    return []


class RoutingQuestions:
    """Records turned into questions to the router. A question that leaves no room is cut at its end, and counted."""

    def __init__(self, backbone: Any, prompt: RoutingPrompt, experts: Sequence[Expert]):
        self.backbone, self.prompt, self.experts = backbone, prompt, experts
        self.shortened = 0

    def ask(self, record: Sample | Query) -> Sample:
        """The record as a question: its pictures, its first human turn in the prompt, and nothing else of it."""
        words = next(turn.text for turn in record.turns if turn.role == 'human').replace(IMAGE_TAG, '').strip()
        asked = self._sample(record, words)
        if self._fits(asked):
            return asked
        self.shortened += 1
        while words:
            words = words[:len(words) * 7 // 8]
            if self._fits(asked := self._sample(record, words)):
                return asked
        raise self._too_long(asked)

    def teach(self, record: Sample, letter: str) -> Sample:
        """A training sample of the router: the question and the letter as its answer."""
        asked = self.ask(record)
        return Sample(asked.id, asked.task, asked.images, (*asked.turns, Turn('gpt', letter)))

    def _sample(self, record: Sample | Query, words: str) -> Sample:
        return Sample(record.id, '', record.images, (Turn('human', self.prompt.text(self.experts, words)),))

    def _too_long(self, asked: Sample) -> ConfigError:
        """Even the bare prompt leaves no room."""
        try:
            why = f'it has {self.backbone.prompt_length(asked)} tokens, and at most {self._limit} leave room for the letter.'
        except DataError as error:
            why = str(error)
        given = f'the routing prompt for {len(self.experts)} experts does not fit: {why}'
        return ConfigError(Problem('methods: prompt', given, "Shorten the tasks' descriptions, or give a shorter prompt."))

    @property
    def _limit(self) -> int:
        return min(self.backbone.max_length, self.backbone.context_length) - ROOM

    def _fits(self, asked: Sample) -> bool:
        try:
            return self.backbone.prompt_length(asked) <= self._limit
        except BadImage:
            return True  # whoever encodes it asks `on_bad_image`
        except DataError:
            return False
