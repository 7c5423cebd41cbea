"""What a task's training and test set share: pictures, questions, and questions on the same picture.

None of it is a fault: a published benchmark may ask other questions of a picture it trained on, and most ask the same
question of many pictures. Rows that share both are told, since their score is recall.
"""

from __future__ import annotations

import numpy as np

from coinkit.data.doctor.findings import EXAMPLES
from coinkit.data.doctor.report import Overlap, Report
from coinkit.data.doctor.rows import Rows


def look_for_overlap(report: Report, task: str, train: Rows, test: Rows) -> None:
    """Add a task's overlap to the report."""
    shared = sorted(train.images.keys() & test.images.keys(), key=test.images.__getitem__)
    questions = int(np.isin(test.questions, train.questions).sum())
    same = np.flatnonzero(np.isin(test.asked, train.asked)).tolist()
    report.overlaps.append(Overlap(task, len(shared), len(test.images), questions, len(same), test.count))
    if shared:
        report.tell('overlap_images', task, f'{len(shared):,} of {len(test.images):,} test pictures are training pictures '
                    'as well', level='note', count=len(shared), examples=tuple(shared[:EXAMPLES]))
    if same:
        report.tell('overlap_rows', task, f'{len(same):,} of {test.count:,} test rows ask what a training row asks of the '
                    'same picture', level='note', count=len(same), cure='Its scores are partly recall.',
                    examples=tuple(f'record {row}' for row in same[:EXAMPLES]))
