"""What `coinkit data` sees of one instruction row: all that a run would refuse, and what one may doubt.

Doubts are worded alike in every row, so that they can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from coinkit.data.doctor.needs import Look
from coinkit.data.images import FileImage, without_tags
from coinkit.datasets.instruction_rows import IMAGE_TOKEN, Row, WrongRow, parse_row, row_id
from coinkit.errors import BadImage

NO_TOKEN = 'a training row with a picture and without <image> in its text'
NO_QUESTION = 'no question'
BAD_BOX = 'a box that is not x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1'
_BOX = re.compile(r'\[\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*\]')


def look_at_row(record: Mapping[str, Any]) -> Look:
    """A row that must hold its answers."""
    return _look(record, gold=True)


def look_at_question(record: Mapping[str, Any]) -> Look:
    """A row whose answers come from an annotation file."""
    return _look(record, gold=False)


def _look(record: Mapping[str, Any], *, gold: bool) -> Look:
    try:
        row = parse_row(record, gold=gold)
        for path in row.images:
            FileImage(path)  # refuses a path that leads out of the image root
    except (WrongRow, BadImage) as error:
        return Look(row_id(record), wrong=str(error))
    question = '\n'.join(without_tags(turn.text) for turn in row.turns if turn.role == 'human')
    return Look(row.id, row.images, question, notes=tuple(_notes(record, row, question)))


def _notes(record: Mapping[str, Any], row: Row, question: str) -> list[str]:
    notes = []
    if row.images and 'image' in record and 'conversations' in record and not _has_token(record['conversations']):
        notes.append(NO_TOKEN)
    if not question.strip():
        notes.append(NO_QUESTION)
    if any(_bad_box(answer) for answer in row.answers):
        notes.append(BAD_BOX)
    return notes


def _has_token(conversation: list[Mapping[str, str]]) -> bool:
    return any(IMAGE_TOKEN in turn['value'] for turn in conversation)


def _bad_box(answer: str) -> bool:
    """Four numbers in brackets, the whole of an answer, are a box."""
    match = _BOX.fullmatch(answer.strip())
    if match is None:
        return False
    try:
        x1, y1, x2, y2 = map(float, match.groups())
    except ValueError:  # '1.2.3'
        return True
    return not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1)
