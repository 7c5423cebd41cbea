"""Conversations as a model's own chat template writes them, and which characters of the text are answers.

A template is Jinja text that comes with the checkpoint. Answers are found by rendering: what stands before an answer
must be exactly the generation prompt of the conversation up to there, so training sees what generation will see. A
template with `{% generation %}` marks says it itself.
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
        text, spans = self._write(sample_id, said), []
        for position, message in enumerate(said):
            if message['role'] == 'assistant':
                start = self._prefix(sample_id, text, said[:position], generation=True)
                spans.append((start, self._prefix(sample_id, text, said[:position + 1])))
        return text, spans

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
