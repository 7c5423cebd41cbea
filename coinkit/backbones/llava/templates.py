"""Conversations to ids and labels: the prompt templates of the LLaVA family and their label masks.

A template writes the turns of a sample as one list of ids in which every picture is the single id IMAGE_ID, and says
which ids are supervised. `vicuna_v1` and `plain` repeat the published LLaVA code id for id and label for label, with
its quirks: a sample whose rounds cannot be counted is ignored as a whole. `mini` is the embedded weights' prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from coinkit.backbones.text_codec import TextCodec
from coinkit.backbones.turns import IMAGE_ID, IMAGE_TAG, Template, Tokens
from coinkit.data.batch import IGNORE
from coinkit.errors import ConfigError, DataError, unknown
from coinkit.types import Turn

SYSTEM = ('A chat between a curious user and an artificial intelligence assistant. '
          "The assistant gives helpful, detailed, and polite answers to the user's questions.")


def encode_with_images(text: str, codec: TextCodec) -> list[int]:
    """Bos and the text's ids, chunks between tags encoded apart and joined by IMAGE_ID."""
    ids = [codec.bos_id]
    for position, chunk in enumerate(text.split(IMAGE_TAG)):
        ids += ([IMAGE_ID] if position else []) + codec.encode(chunk)
    return ids


@dataclass(frozen=True)
class VicunaV1(Template):
    """LLaVA-1.5's conversation. `mask_correction=False` is CoIN's copy, which ignores later rounds of legacy=False."""

    pictures_in_front: ClassVar[bool] = True
    mask_correction: bool = True

    def render(self, turns: Sequence[Turn], codec: TextCodec, *, training: bool, max_length: int) -> Tokens:
        text = vicuna_text(turns) + ('' if training else 'ASSISTANT:')
        ids = encode_with_images(text, codec)
        if not training:
            return ids, [IGNORE] * len(ids)
        if IMAGE_TAG not in text:
            ids = ids[:max_length]  # the published code cuts text-only samples here, those with pictures later
        return ids, self.labels(text, ids, codec, max_length=max_length)

    def labels(self, text: str, ids: Sequence[int], codec: TextCodec, *, max_length: int) -> list[int]:
        """The published rule: each round's ids are counted by encoding it alone; all ignored when the sum is wrong."""
        labels = list(ids)
        labels[0] = IGNORE
        current, correct = 1, self.mask_correction and not codec.legacy
        for number, round_text in enumerate(text.split('</s>')):
            parts = round_text.split(' ASSISTANT: ')
            if not round_text or len(parts) != 2:
                break
            # "USER" after </s> is one piece when legacy=False, but two when a round is encoded alone
            shorter = 1 if number and correct else 0
            round_length = len(encode_with_images(round_text, codec)) - shorter
            asked_length = len(encode_with_images(parts[0] + ' ASSISTANT: ', codec)) - 2 - shorter
            end = min(current + asked_length, len(labels))
            labels[current:end] = [IGNORE] * max(end - current, 0)
            current += round_length
        labels[current:] = [IGNORE] * len(labels[current:])
        counted = sum(one != codec.unk_id for one in ids)  # the published pad id is unk
        return [IGNORE] * len(labels) if current < max_length and current != counted else labels


def vicuna_text(turns: Sequence[Turn]) -> str:
    """The conversation as text; an empty message is its role alone, without separator, as published."""
    text = SYSTEM + ' '
    for turn in turns:
        role, end = ('USER', ' ') if turn.role == 'human' else ('ASSISTANT', '</s>')
        text += f'{role}: {turn.text}{end}' if turn.text else f'{role}:'
    return text


@dataclass(frozen=True)
class Plain(Template):
    """The projector's pre-training: picture, caption, newline."""

    pictures_in_front: ClassVar[bool] = True

    def render(self, turns: Sequence[Turn], codec: TextCodec, *, training: bool, max_length: int) -> Tokens:
        if len(turns) != (2 if training else 1):
            raise DataError(f"template 'plain' writes one picture and its caption; this conversation has {len(turns)} "
                            "turns. template='vicuna_v1' writes conversations.")
        tags = IMAGE_TAG * turns[0].text.count(IMAGE_TAG)
        num_prompt = len(encode_with_images(tags, codec))
        ids = encode_with_images(tags + turns[1].text + '\n' if training else tags, codec)
        return ids, [IGNORE] * num_prompt + ids[num_prompt:]


@dataclass(frozen=True)
class Mini(Template):
    """Rounds, each behind its pictures; question and answer encoded apart. Fields come from coinkit.json."""

    pictures_in_front: ClassVar[bool] = True
    human: str = 'USER: {text} ASSISTANT:'
    gpt: str = ' {text}</s>'
    turn_separator: str = ' '

    def render(self, turns: Sequence[Turn], codec: TextCodec, *, training: bool, max_length: int) -> Tokens:
        ids, labels = [codec.bos_id], [IGNORE]
        for number, turn in enumerate(turns):
            pictures, text = turn.text.count(IMAGE_TAG), turn.text.replace(IMAGE_TAG, '').strip()
            ids, labels = ids + [IMAGE_ID] * pictures, labels + [IGNORE] * pictures
            if turn.role == 'human':
                piece = codec.encode((self.turn_separator if number else '') + self.human.format(text=text))
                labels += [IGNORE] * len(piece)
            else:
                piece = codec.encode(self.gpt.format(text=text))
                labels += piece if training else [IGNORE] * len(piece)
            ids += piece
        return ids, labels


TEMPLATES: dict[str, type[Template]] = {'vicuna_v1': VicunaV1, 'plain': Plain, 'mini': Mini}


def make_template(name: str, *, card: Mapping[str, Any], mask_correction: bool = True) -> Template:
    """The template called `name`; `card` is the checkpoint's coinkit.json, {} where it has none."""
    if name not in TEMPLATES:
        raise ConfigError(unknown('backbone.template', 'template', name, TEMPLATES))
    if name == 'mini':
        return Mini(**{key: card[key] for key in ('human', 'gpt', 'turn_separator') if key in card})
    return VicunaV1(mask_correction) if name == 'vicuna_v1' else Plain()
