"""Qwen-VL's prompts: ChatML as published for training and chat, and the prompt CoIN evaluates with.

In ids a picture is `<img>`, IMAGE_ID and `</img>`. Each part of a row is encoded apart, as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coinkit.backbones.qwen_vl.tokenizer import QwenCodec
from coinkit.backbones.turns import IMAGE_ID, IMAGE_TAG, Template, Tokens
from coinkit.data.batch import IGNORE
from coinkit.errors import ConfigError, DataError, unknown
from coinkit.types import Turn

SYSTEM = 'You are a helpful assistant.'
ROLES = {'human': 'user', 'gpt': 'assistant'}


@dataclass(frozen=True)
class ChatML(Template):
    """`<|im_start|>role`, newline, text, `<|im_end|>`, newline. `picture` stands before a picture; {} is its number.

    `label_mask='published'` supervises the answers, and of every other block its `<|im_start|>`, `<|im_end|>` and last
    newline; 'answers' the answers with their `<|im_end|>` alone.
    """

    system: str = SYSTEM
    picture: str = 'Picture {}: '
    label_mask: str = 'published'

    def render(self, turns: Sequence[Turn], codec: QwenCodec, *, training: bool, max_length: int) -> Tokens:
        start, newline = codec.special_id('<|im_start|>'), codec.encode('\n')
        ids, labels = self._block('system', codec.encode(self.system), codec)
        pictures = 0
        for turn in turns:
            block_ids, block_labels = self._block(ROLES[turn.role], self._content(turn.text, pictures, codec), codec)
            pictures += turn.text.count(IMAGE_TAG)
            ids, labels = ids + block_ids, labels + block_labels
        if training:
            return ids, [IGNORE if one == IMAGE_ID else one for one in labels]
        ids += [start, *codec.encode('assistant'), *newline]
        return ids, [IGNORE] * len(ids)

    def _block(self, role: str, content: list[int], codec: QwenCodec) -> Tokens:
        newline = codec.encode('\n')
        start, end = [codec.special_id('<|im_start|>')], [codec.special_id('<|im_end|>'), *newline]
        head = [*codec.encode(role), *newline]
        ids = start + head + content + end
        labels = content if role == 'assistant' else [IGNORE] * len(content)
        if self.label_mask == 'published':
            return ids, start + [IGNORE] * len(head) + labels + end
        stop = end[:1] if role == 'assistant' else [IGNORE]
        return ids, [IGNORE] * (1 + len(head)) + labels + stop + [IGNORE] * len(newline)

    def _content(self, text: str, pictures: int, codec: QwenCodec) -> list[int]:
        """The text's ids; the first of its pictures is number `pictures` + 1 of the conversation."""
        *before, last = text.split(IMAGE_TAG)
        ids: list[int] = []
        for number, piece in enumerate(before, pictures + 1):
            ids += [*codec.encode(piece + self.picture.format(number)), *picture_ids(codec)]
        return ids + codec.encode(last)


@dataclass(frozen=True)
class CoinPrompt(ChatML):
    """CoIN trains on ChatML but asks in this plain form: one question, its pictures right before it."""

    def render(self, turns: Sequence[Turn], codec: QwenCodec, *, training: bool, max_length: int) -> Tokens:
        if training:
            return super().render(turns, codec, training=True, max_length=max_length)
        if len(turns) != 1:
            raise DataError(f"the prompt of template 'coin' is one question, this conversation has {len(turns)} turns. "
                            "template='chatml' writes conversations.")
        pictures, question = turns[0].text.count(IMAGE_TAG), turns[0].text.replace(IMAGE_TAG, '').strip()
        before, after = f'System:{self.system}\n\n', f'{question} Assistant:'
        ids = codec.encode(before) + picture_ids(codec) * pictures + codec.encode(after) if pictures else \
            codec.encode(before + after)
        return ids, [IGNORE] * len(ids)


def picture_ids(codec: QwenCodec) -> list[int]:
    return [codec.special_id('<img>'), IMAGE_ID, codec.special_id('</img>')]


LABEL_MASKS = ('published', 'answers')
TEMPLATES: dict[str, type[ChatML]] = {'chatml': ChatML, 'coin': CoinPrompt}


def make_template(name: str, *, card: Mapping[str, Any], picture: str | None = None,
                  label_mask: str = 'published') -> ChatML:
    """The template called `name`; `card` is the checkpoint's coinkit.json, {} where it has none."""
    if name not in TEMPLATES:
        raise ConfigError(unknown('backbone.template', 'template', name, TEMPLATES))
    chosen = {key: card[key] for key in ('system', 'picture') if key in card}
    return TEMPLATES[name](**chosen | ({} if picture is None else {'picture': picture}), label_mask=label_mask)
