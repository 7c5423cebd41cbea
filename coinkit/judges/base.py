"""What a judge is: it is asked questions and gives one text per question; everything else is the same for all judges.

A `Question` knows its key, a hash of the messages and of all that the answer depends on (kind of judge, model, revision,
decoding). Equal keys are asked once, whatever run, stage or task they come from; the answers live in `AnswerCache`.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from coinkit.errors import ConfigError, Problem, unknown

Decoding = Literal['greedy', 'upstream']
Parse = Literal['strict', 'upstream']
DECODINGS, PARSES = ('greedy', 'upstream'), ('strict', 'upstream')
UPSTREAM_SAMPLING = {'temperature': 0.7, 'top_p': 0.8, 'repetition_penalty': 1.05}  # published; no seed
ANSWER_TOKENS = 20  # published length of a judge's answer
FORMAT_THRESHOLD = 8.0  # of 10: a wrong answer that the judge gives this much is a failure of format
BYTES_PER_TOKEN, TOKENS_PER_MESSAGE = 4, 4  # a rough count before anything is asked; usage is counted as told


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a judge; `content` is the user message, `system` the system message ('' = none)."""

    key: str
    content: str
    system: str = ''

    @property
    def messages(self) -> list[dict[str, str]]:
        head = [{'role': 'system', 'content': self.system}] if self.system else []
        return [*head, {'role': 'user', 'content': self.content}]

    @property
    def tokens(self) -> int:
        """About how many tokens the prompt has."""
        return sum(math.ceil(len(message['content'].encode(errors='surrogatepass')) / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE
                   for message in self.messages)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said. Token counts are None where it did not tell."""

    text: str
    model: str = ''  # as the endpoint names what it served
    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that got no answer this time, and why."""

    question: Question
    reason: str


Keep = Callable[[Question, Answer], None]  # stores one answer; called once per answer, never by two threads at once


class Judge(ABC):
    """A text model that rates answers; subclasses say what identifies them and how they are asked."""

    price_in: float | None = None  # USD per million tokens
    price_out: float | None = None

    def __init__(self, *, parse: Parse, threshold: float, decoding: Decoding, max_new_tokens: int, system: str):
        where, problems = f'judge {type(self).__name__}', []
        for key, value, allowed in (('parse', parse, PARSES), ('decoding', decoding, DECODINGS)):
            problems += [] if value in allowed else [unknown(f'{where}: {key}', key, str(value), allowed)]
        problems += out_of_range(where, threshold=(threshold, 0, 10), max_new_tokens=(max_new_tokens, 1, math.inf))
        if problems:
            raise ConfigError(problems)
        self.parse, self.threshold, self.decoding = parse, float(threshold), decoding
        self.max_new_tokens, self.system = max_new_tokens, system

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on besides the messages: kind, model, revision, sampling. JSON, no secrets."""

    @abstractmethod
    def ask(self, questions: Iterable[Question], keep: Keep) -> list[Unanswered]:
        """Ask all questions; each answer goes to `keep` as soon as it is there. Returns those without an answer."""

    def check(self) -> list[Problem]:
        """What is missing before anything can be asked."""
        return []

    def least_seconds(self, questions: int, tokens: int) -> float:
        """The time that the judge's rate limits alone take."""
        return 0.0

    def question(self, content: str) -> Question:
        """The request for a prompt, under its key."""
        parts = {'content': content, 'system': self.system, **self.identity}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode(errors='surrogatepass'))
        return Question(digest.hexdigest()[:32], content, self.system)

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """USD, or None when no prices were given."""
        if self.price_in is None and self.price_out is None:
            return None
        return (tokens_in * (self.price_in or 0.0) + tokens_out * (self.price_out or 0.0)) / 1e6


def out_of_range(where: str, **values: tuple[Any, float, float]) -> list[Problem]:
    """Problems of numbers that are not within [low, high]; None is a limit that is off."""
    return [Problem(f'{where}: {key}', f'given {value!r}, allowed: {low:g} to {high:g}.')
            for key, (value, low, high) in values.items()
            if value is not None and not (isinstance(value, int | float) and low <= value <= high)]


def sampling(decoding: Decoding) -> Mapping[str, float]:
    """The sampling settings that a decoding stands for."""
    return UPSTREAM_SAMPLING if decoding == 'upstream' else {'temperature': 0.0}
