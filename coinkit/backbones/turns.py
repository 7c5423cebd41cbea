"""The turns of a record before a template writes them: who speaks, where the pictures are.

In coinkit's batches a picture is IMAGE_ID at every one of its positions; a template writes it once per picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from coinkit.backbones.text_codec import TextCodec
from coinkit.errors import DataError
from coinkit.types import IMAGE_TAG, Turn

IMAGE_ID = -200  # a picture in ids; never embedded
Tokens = tuple[list[int], list[int]]  # ids, labels


class Template(ABC):
    """Writes checked turns (human, gpt...) as ids and labels; ends in the generation prompt unless `training`.

    `pictures_in_front`: a turn's pictures stand before its text, as LLaVA was trained; else where the record has them.
    """

    pictures_in_front: ClassVar[bool] = False

    @abstractmethod
    def render(self, turns: Sequence[Turn], codec: TextCodec, *, training: bool, max_length: int) -> Tokens:
        """`turns` carry one IMAGE_TAG per picture; ids one IMAGE_ID. Generation prompts are supervised nowhere."""


def checked_turns(sample_id: str, turns: Sequence[Turn], *, training: bool) -> list[Turn]:
    """The turns from the first human one on; raises DataError when they do not alternate or end on the wrong side."""
    kept = list(turns[1:] if turns and turns[0].role != 'human' else turns)
    for position, turn in enumerate(kept):
        expected = ('human', 'gpt')[position % 2]
        if turn.role != expected:
            raise DataError(f"record {sample_id}: turn {position + 1} is by '{turn.role}', expected '{expected}': "
                            "turns must alternate 'human', 'gpt'.")
    last = 'gpt' if training else 'human'
    if not kept or kept[-1].role != last:
        what = 'has no answer to learn: it must end with a gpt turn' if training else 'must end with a human turn'
        raise DataError(f'record {sample_id}: {what}.')
    return kept


def with_image_tags(sample_id: str, turns: Sequence[Turn], num_images: int, *, in_front: bool = True) -> list[Turn]:
    """Turns with one tag per picture; pictures without a tag go before the first human turn, as `<image>\\n`.

    Tags keep their places, or with `in_front` go before the text of their turn. A question (not a training row) that
    begins with its one tag and a space then keeps the space: MLLM-CL asks OCR so.
    """
    num_tags = sum(turn.text.count(IMAGE_TAG) for turn in turns)
    if num_tags not in (0, num_images):
        raise DataError(f'record {sample_id}: {num_tags} {IMAGE_TAG} tags for {num_images} pictures.')
    if num_tags == 0 and num_images:
        return [_in_front(turns[0], num_images, question=False), *turns[1:]]
    if not in_front:
        return list(turns)
    question = turns[-1].role == 'human'
    return [_in_front(turn, turn.text.count(IMAGE_TAG), question=question) for turn in turns]


def _in_front(turn: Turn, count: int, *, question: bool) -> Turn:
    if not count:
        return turn
    text = turn.text.replace(IMAGE_TAG, '').strip()
    gap = ' ' if question and count == 1 and turn.text == f'{IMAGE_TAG} {text}' else '\n'
    return replace(turn, text=(f'{IMAGE_TAG}{gap}' * count + text).strip())
