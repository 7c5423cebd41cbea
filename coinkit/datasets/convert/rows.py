"""From an official annotation to an instruction row, and which of several annotators' answers is the one.

The answer that most annotators gave is taken, outer white space aside; of answers given equally often, the one that stands
first in the annotation. An annotation that makes no row is `LeftOut`, with the reason, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coinkit.config.instructions import asked

IMAGE = '<image>'
_INLINE = '<img>'


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `gold` are the fields of its test row: 'answer', 'answers' or a box, and what the scorer needs."""

    id: str
    image: str  # below the image root; '' = none
    question: str  # with its options or its phrase, without an instruction
    answer: str  # what training teaches
    gold: Mapping[str, Any] = field(default_factory=dict)


class LeftOut(NamedTuple):
    """An annotation that makes no row."""

    id: str
    reason: str


def most_frequent(answers: Iterable[str]) -> str:
    """The answer given most often, the earliest of several; '' when all are blank."""
    counted = Counter(answer.strip() for answer in answers if answer.strip())
    return max(counted, key=counted.__getitem__) if counted else ''  # max takes the first; a Counter keeps first places


def checked(item: Item, *, instruction_asks: bool = False) -> Item | LeftOut:
    """The item, unless no row can be made of it; `instruction_asks`: the question is in the instruction."""
    if not item.id.strip():
        return LeftOut(item.id, 'its id is blank')
    if not item.question.strip() and not instruction_asks:
        return LeftOut(item.id, 'its question is empty')
    if IMAGE in item.question or _INLINE in item.question:
        return LeftOut(item.id, f'its question holds {IMAGE} or {_INLINE}, which stand for pictures')
    if not item.answer.strip():
        return LeftOut(item.id, 'it has no answer')
    return item


def train_row(item: Item, instruction: str) -> dict[str, Any]:
    """A row to train on; the picture's token stands before the question."""
    text = asked(instruction, item.question)
    turns = [{'from': 'human', 'value': f'{IMAGE}\n{text}' if item.image else text}, {'from': 'gpt', 'value': item.answer}]
    return {'id': item.id, **({'image': item.image} if item.image else {}), 'conversations': turns}


def test_row(item: Item, instruction: str) -> dict[str, Any]:
    """A row to answer, with its gold."""
    gold = item.gold or {'answer': item.answer}
    return {'question_id': item.id, **({'image': item.image} if item.image else {}),
            'text': asked(instruction, item.question), **gold}


test_row.__test__ = False  # pytest collects what is called test_...
