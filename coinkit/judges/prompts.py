"""What a judge is asked: the question, the gold answer and the model's answer in marked blocks, then the rule.

The order of the blocks and what the rule demands are CoIN's (zackschen/CoIN@41224655, `ETrain/Eval`); the words are
ours. An ordinary question is given without its last line, which only says in which format to answer; a grounding question
is given whole, with a rule that explains boxes. A judge sees no picture, so picture placeholders are taken out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from coinkit.errors import DataError
from coinkit.types import Prediction, Turn

SYSTEM = 'You are a helpful assistant.'
LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
_RULE = ("Rate how accurate the assistant's answer is when it is compared with the ground truth. "
         'Give one overall score from 0 to 10; a higher score means a better answer. '
         'Output one line that holds only the value of the score, with no explanation.')
_BOXES = ('The image is described by a sentence and by bounding boxes. A box is given as (x1, y1, x2, y2): the left, '
          'top, right and bottom edge as numbers from 0 to 1. ')
_PLACEHOLDER = re.compile(r'<image>\n?|<img>[^<>\n]*</img>\n?|<Img>\s*<ImageHere>\s*</Img>\n?|<ImageHere>\n?')


def judge_prompt(question: str, gold: str, answer: str, *, grounding: bool = False) -> str:
    """The user message. `question` is the whole text of the question; its format line is taken away here."""
    question, gold, answer = map(without_placeholders, (question, gold, answer))
    asked = question if grounding else without_format_line(question)
    rule = _BOXES + _RULE if grounding else _RULE
    return (f'[Context]\n\n[Question]\n{asked}\n\n[Ground Truth]\n{gold}\n[End of Ground Truth]\n\n'
            f'[Assistant]\n{answer}\n[End of Assistant]\n\n[System]\n{rule}\n')


def without_placeholders(text: str) -> str:
    """The text without the marks that stand for a picture."""
    return _PLACEHOLDER.sub('', text)


def without_format_line(question: str) -> str:
    """The question without its last line; a question of one line is kept, because nothing would be left of it."""
    head, _, _ = question.rstrip('\n').rpartition('\n')
    return head if head.strip() else question


def question_text(turns: Sequence[Turn]) -> str:
    """What was asked, as one text: all turns of a test sample, the last of which is the question."""
    return '\n'.join(turn.text for turn in turns)


def gold_text(item: Prediction, *, grounding: bool = False) -> str:
    """The gold answer a judge compares with: the box, the answer, or what most of several annotators said."""
    context = item.context
    if grounding and context.get('answer_bbox') is not None:
        return _box_text(item)
    if item.references:
        return Counter(item.references).most_common(1)[0][0]  # of equally many, the first
    index = context.get('gold_index')
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(LETTERS):
        return LETTERS[index]
    raise DataError(f"prediction '{item.id}': no gold answer for the judge to compare with; needed: references, "
                    'or answer_bbox or gold_index in the context.')


def _box_text(item: Prediction) -> str:
    box = item.context['answer_bbox']
    if isinstance(box, str):
        return box
    if not isinstance(box, list | tuple) or not all(isinstance(side, int | float | str) for side in box):
        raise DataError(f"prediction '{item.id}': context has answer_bbox={box!r}; a judge of boxes needs "
                        "'[x1,y1,x2,y2]' or the list of the four numbers.")
    return '[' + ','.join(map(str, box)) + ']'
