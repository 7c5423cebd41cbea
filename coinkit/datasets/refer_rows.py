"""From refs to flat rows: one per sentence, its boxes written as CoIN writes them.

Two decimals leave some thin boxes without width or height: one of four pixels between two hundredths of a picture of 640.
Nothing can be learned from such a box, and no answer meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from coinkit.data.boxes import box_text, expand_box, relative_box
from coinkit.datasets.refer_files import Referred

TASK = 'Grounding'
THIN_BOXES = ('keep', 'leave_out')
DECIMALS = 2
GOLD = ('answer_bbox', 'origin_answer_bbox', 'size')  # what a scorer is told


class Rows(NamedTuple):
    """Flat rows in the file's order, and the ids of those that were left out."""

    kept: list[dict[str, Any]]
    thin: list[str]


def referred_rows(found: Sequence[Referred], splits: Sequence[str], name: str, *, sentences: str = 'all',
                  thin_boxes: str = 'leave_out') -> Rows:
    """One row per sentence of the splits: id, phrase, picture and boxes. `thin_boxes`: what becomes of a box whose text has
    no width or no height."""
    rows = Rows([], [])
    for one in found:
        if one.split not in splits:
            continue
        padded, plain = (box_text(to_parts(one.box, *one.size), DECIMALS) for to_parts in (expand_box, relative_box))
        for sent_id, phrase in one.sentences if sentences == 'all' else one.sentences[:1]:
            row = {'id': f'{name}_{sent_id}', 'phrase': phrase, 'image': one.file_name, 'answer_bbox': padded,
                   'origin_answer_bbox': plain, 'size': list(one.size)}
            if thin_boxes == 'leave_out' and is_thin(padded):
                rows.thin.append(row['id'])
            else:
                rows.kept.append(row)
    return rows


def is_thin(text: str) -> bool:
    """The box has no area as it is written, such as one of four pixels between two hundredths of 640."""
    x1, y1, x2, y2 = map(float, text.strip('[]').split(','))
    return x2 <= x1 or y2 <= y1
