"""Conversations as a model's own chat template writes them, and which characters of the text are answers.

A template is Jinja text that comes with the checkpoint. Answers are found by rendering: what stands before an answer
must be exactly the generation prompt of the conversation up to there, so training sees what generation will see. A
template with `{% generation %}` marks says it itself. Of a long conversation not every beginning is rendered: marks in
the answers' places show whether every round is written like the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coinkit.backbones.turns import IMAGE_TAG
from coinkit.errors import ConfigError, DataError, Problem, unknown
from coinkit.types import Turn

WHERE = 'backbone.template'
Messages = list[dict[str, Any]]
Span = tuple[int, int]
# the question as it is, then the answer and the end of text: for models that were tuned without a template (InstructBLIP)
QUESTION = (
    "{%- for message in messages -%}{%- if message['role'] == 'assistant' %} {% elif not loop.first %} {% endif -%}"
    "{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}"
    "{%- if message['role'] == 'assistant' -%}{{ eos_token }}{%- endif -%}{%- endfor -%}")
TEMPLATES = {'question': QUESTION}
FEW = 6  # messages: so many are rendered up to each answer
_MARKED = re.compile(r'\{%-?\s*generation\s*-?%\}')
TRIAL = (Turn('human', f'{IMAGE_TAG}\nwhat is it?'), Turn('gpt', 'a ring'), Turn('human', 'and now?'), Turn('gpt', 'red'))


@dataclass(frozen=True)
class ChatTemplate:
    """Jinja text, where it comes from (for messages) and the special tokens it may name."""

    jinja: str
    source: str
    tokens: Mapping[str, Any] = field(default_factory=dict)

    def prompt(self, sample_id: str, turns: Sequence[Turn]) -> str:
        """The conversation up to where the model goes on."""
        return self._write(sample_id, messages(turns), generation=True)

    def conversation(self, sample_id: str, turns: Sequence[Turn]) -> tuple[str, list[Span]]:
        """The whole conversation, and the characters of each answer with what ends it."""
        said = messages(turns)
        if _MARKED.search(self.jinja):
            return self._marked(sample_id, said)
        text = self._write(sample_id, said)
        spans = self._by_marks(sample_id, text, turns) if len(said) > FEW else None
        return text, self._one_by_one(sample_id, text, said) if spans is None else spans

    def _one_by_one(self, sample_id: str, text: str, said: Messages) -> list[Span]:
        """The answers, from the conversation up to each and up to its end."""
        spans = []
        for position, message in enumerate(said):
            if message['role'] == 'assistant':
                start = self._prefix(sample_id, text, said[:position], generation=True)
                spans.append((start, self._prefix(sample_id, text, said[:position + 1])))
        return spans

    def _by_marks(self, sample_id: str, text: str, turns: Sequence[Turn]) -> list[Span] | None:
        """The same spans from five renderings more; None where the rounds are not written alike."""
        marks = [f'\ue000{number}\ue001' for number in range(len(turns) // 2)]
        marked = [Turn(turn.role, marks[number // 2]) if number % 2 else turn for number, turn in enumerate(turns)]
        said = messages(turns)
        try:
            question, prompt = (self._write(sample_id, said[:1], generation=wanted) for wanted in (False, True))
            first, last = self._write(sample_id, said[:2]), self._write(sample_id, said[:-1], generation=True)
            outline = self._write(sample_id, messages(marked))
        except DataError:  # a template may refuse a conversation that ends here
            return None
        places = _answers(text, outline, marks, [turn.text for turn in turns[1::2]])
        if places is None or not prompt.startswith(question):
            return None
        lead = text[len(prompt):places[0][0]]  # what an answer begins with, and what ends it
        end = first[places[0][1]:]
        before = prompt[len(question):] + lead
        spans = [(start - len(lead), stop + len(end)) for start, stop in places]
        alike = all(text.endswith(before, 0, start) and text.startswith(end, stop) for start, stop in places)
        fits = text[:spans[0][0]] == prompt and text[:spans[0][1]] == first and text[:spans[-1][0]] == last
        return spans if alike and fits and spans[-1][1] == len(text) else None

    def _marked(self, sample_id: str, said: Messages) -> tuple[str, list[Span]]:
        text, spans = self._render(sample_id, said, return_assistant_tokens_mask=True)
        if not spans:
            raise DataError(f'record {sample_id}: the chat template {self.source} marks no answer.')
        return text, [(start, end) for start, end in spans]

    def _prefix(self, sample_id: str, text: str, said: Messages, *, generation: bool = False) -> int:
        before = self._write(sample_id, said, generation=generation)
        if not text.startswith(before):
            same = next(at for at, (one, other) in enumerate(zip(before + '\0', text + '\1', strict=False)) if one != other)
            raise DataError(
                f'record {sample_id}: the chat template {self.source} writes a conversation differently when it goes on '
                f'({before[same:same + 40]!r} became {text[same:same + 40]!r}), so its answers cannot be told apart. Give '
                'backbone.template= a template that only appends, or one with {% generation %} marks.')
        return len(before)

    def _write(self, sample_id: str, said: Messages, *, generation: bool = False) -> str:
        return self._render(sample_id, said, add_generation_prompt=generation)[0]

    def _render(self, sample_id: str, said: Messages, **options: Any) -> tuple[str, list[Any]]:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            texts, spans = render_jinja_template([said], chat_template=self.jinja, **options, **self.tokens)
        except (TemplateError, TypeError) as error:
            raise DataError(f'record {sample_id}: the chat template {self.source} cannot write it: {error}') from error
        return texts[0], spans[0] if spans else []


def _answers(text: str, outline: str, marks: Sequence[str], answers: Sequence[str]) -> list[Span] | None:
    """Where the answers stand in a text that is its outline with answers for marks; None where it is not."""
    rest, places, place = outline, [], 0
    for mark, answer in zip(marks, answers, strict=True):
        before, found, rest = rest.partition(mark)
        place += len(before)
        after = rest.partition(marks[len(places) + 1])[0] if len(places) + 1 < len(marks) else rest
        written = next((one for one in (answer, answer.strip()) if text.startswith(one + after, place)), None)
        if not found or written is None or not text.endswith(before, 0, place):
            return None
        places.append((place, place + len(written)))
        place += len(written)
    return places


def messages(turns: Sequence[Turn]) -> Messages:
    """Turns as chat templates take them: pictures are parts of a message, in their place."""
    return [{'role': 'user' if turn.role == 'human' else 'assistant', 'content': _parts(turn.text)} for turn in turns]


def _parts(text: str) -> list[dict[str, str]]:
    """The line break beside a tag belongs to the tag."""
    pieces = re.split(rf'(\n?{IMAGE_TAG}\n?)', text)
    parts = [{'type': 'image'} if number % 2 else {'type': 'text', 'text': piece} for number, piece in enumerate(pieces)]
    return [part for part in parts if part.get('text') != ''] or [{'type': 'text', 'text': ''}]


def choose_template(given: str | None, own: Any, *, folder: str, tokens: Mapping[str, Any]) -> ChatTemplate:
    """The template `given` (a name or Jinja text), else the checkpoint's own."""
    if given is not None:
        if given not in TEMPLATES and '{' not in given:
            raise ConfigError(unknown(WHERE, 'template', given, TEMPLATES))
        return ChatTemplate(TEMPLATES.get(given, given), 'backbone.template', tokens)
    if isinstance(own, Mapping):  # several by name
        own = own.get('default')
    if not own:
        raise ConfigError(Problem(WHERE, f"'{folder}' has no chat template.",
                                  "Give Jinja text, or 'question': the question as it is, then the answer."))
    return ChatTemplate(own, f"of '{folder}'", tokens)
