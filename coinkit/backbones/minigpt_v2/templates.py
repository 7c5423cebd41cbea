"""MiniGPT-v2's prompts, labels and answers as published.

A training row is bos, the prompt and the answer; a conversation goes on with `<s>` and the next wrapped question. The
pieces between pictures are encoded apart. Published quirks are kept: the pad token is the ordinary piece "$$", so one
inside an answer is not supervised, and a generation prompt starts with two bos.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.backbones.llava.templates import Mini
from coinkit.backbones.text_codec import TextCodec
from coinkit.backbones.turns import IMAGE_ID, IMAGE_TAG, Template, Tokens
from coinkit.data.batch import IGNORE
from coinkit.errors import ConfigError, Problem
from coinkit.types import Turn

TASK_TAGS = ('vqa', 'caption', 'grounding', 'refer', 'identify', 'detection')
TEMPLATES = ('minigpt_v2', 'mini')
PROCESSED = ('question', 'answer', 'both')  # what `blip_caption` is applied to
BEFORE, AFTER = '<Img>', '</Img>'  # around a picture
BOS_TEXT = '<s>'
_FRONT = re.compile(rf'((?:\s*{IMAGE_TAG})*)(.*)', re.DOTALL)  # pictures before the question, and it


@dataclass(frozen=True)
class InstTemplate(Template):
    """`[INST] <Img>picture</Img> [vqa] question  [/INST]`; `wrapper` goes around single questions when `chat_template`.

    `task_tag` is put before the first question unless that has one; `processor` names what is lower-cased and cleaned
    of punctuation, as the published caption and VQA data sets are.
    """

    wrapper: str = '[INST] {} [/INST]'
    chat_template: bool = True
    end_sym: str = '</s>'
    pad_token: str = '$$'
    max_txt_len: int = 2048
    max_context_len: int = 3800
    tokens_per_image: int = 256
    task_tag: str | None = None
    processor: str | None = None

    def render(self, turns: Sequence[Turn], codec: TextCodec, *, training: bool, max_length: int) -> Tokens:
        if training:
            return self._training_row(turns, codec)
        ids = [codec.bos_id, *_joined(self.prompt(turns, 0, start=BOS_TEXT, end=''), codec)]
        for number in range(2, len(turns), 2):
            ids += codec.encode(self._answer(turns[number - 1]))
            ids += _joined(self.prompt(turns, number, start=BOS_TEXT, end=''), codec)
        return ids, [IGNORE] * len(ids)

    def _training_row(self, turns: Sequence[Turn], codec: TextCodec) -> Tokens:
        wrapped = self.chat_template or len(turns) > 2
        prompt = self._cut(_joined(self.prompt(turns, 0, wrapped=wrapped), codec))
        answer = codec.encode(self._answer(turns[1]))
        labels = list(answer)
        if len(turns) == 2:
            pad_id = codec.backend.token_to_id(self.pad_token)
            labels = [IGNORE if one == pad_id else one for one in answer]
        for number in range(2, len(turns), 2):
            question = _joined(self.prompt(turns, number, start=BOS_TEXT), codec)
            following = codec.encode(self._answer(turns[number + 1]))
            answer += question + following
            labels += [IGNORE] * len(question) + following
        answer, labels = answer[:self.max_txt_len], labels[:self.max_txt_len]
        return [codec.bos_id, *prompt, *answer], [IGNORE] * (1 + len(prompt)) + labels

    def prompt(self, turns: Sequence[Turn], number: int, *, wrapped: bool = True, start: str = '',
               end: str = ' ') -> list[str]:
        """The question's texts around its pictures; `end` is the blank that the training data put behind it.

        Pictures in front of the question stand before the task tag as well, the others where the record has them.
        """
        front, text = _FRONT.fullmatch(turns[number].text).groups()
        front = IMAGE_TAG * front.count(IMAGE_TAG) + ' ' if front else ''
        before, after = self.wrapper.split('{}') if wrapped else ('', '')
        asked = start + before + front + self._question(text.strip(), first=number == 0) + end + after
        first, *others = asked.split(IMAGE_TAG)
        segments = [first, *(AFTER + one for one in others)]
        return [one + BEFORE for one in segments[:-1]] + segments[-1:]

    def _question(self, text: str, *, first: bool) -> str:
        if self.processor in ('question', 'both'):  # piece by piece: the limit of words must lose no picture
            text = f' {IMAGE_TAG} '.join(map(blip_caption, text.split(IMAGE_TAG))).strip()
        tagged = text.startswith(tuple(f'[{tag}]' for tag in TASK_TAGS))
        return text if self.task_tag is None or tagged or not first else f'[{self.task_tag}] {text}'

    def _answer(self, turn: Turn) -> str:
        return (blip_caption(turn.text) if self.processor in ('answer', 'both') else turn.text) + self.end_sym

    def _cut(self, ids: list[int]) -> list[int]:
        """The leading ids that fill `max_context_len` positions, pictures at full length."""
        if len(ids) + ids.count(IMAGE_ID) * (self.tokens_per_image - 1) <= self.max_context_len:
            return ids
        kept, filled = 0, 0
        while filled <= self.max_context_len:
            filled += self.tokens_per_image if ids[kept] == IMAGE_ID else 1
            kept += 1
        return ids[:kept - 1]


def _joined(segments: Sequence[str], codec: TextCodec) -> list[int]:
    """Ids of the segments, each encoded alone, with IMAGE_ID in between."""
    ids: list[int] = []
    for number, segment in enumerate(segments):
        ids += ([IMAGE_ID] if number else []) + codec.encode(segment)
    return ids


def blip_caption(text: str, max_words: int = 50) -> str:
    """Lower case without most punctuation, single blanks, at most `max_words`: the published caption processor."""
    text = re.sub(r'[.!"()*#:;~]', ' ', text.lower())
    words = re.sub(r'\s{2,}', ' ', text).strip().split(' ')
    return ' '.join(words[:max_words])


def answer_text(text: str) -> str:
    """What the model answered: the text behind the last `[/INST]`, should it repeat one."""
    return text.split('[/INST]')[-1].replace(BOS_TEXT, '').strip()


def make_template(name: str, *, card: Mapping[str, Any], **options: Any) -> Template:
    """The template called `name`; `card` is the checkpoint's coinkit.json, {} where it has none."""
    if name == 'mini':
        return Mini(**{key: card[key] for key in ('human', 'gpt', 'turn_separator') if key in card})
    if (wrapper := options.get('wrapper', '{}')).count('{}') != 1:
        raise ConfigError(Problem('config.json: prompt_template', f"{wrapper!r} must hold '{{}}' once, where the question "
                                  'goes.'))
    return InstTemplate(**options)
