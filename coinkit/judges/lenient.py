"""The lenient form of a scorer, which tells failures of format without a judge: the answer is there, only said otherwise.

For boxes: the first four numbers of the text, under the scorer's own IoU rule. For everything else: normalised containment,
i.e. a gold answer (or the text of the right option) found as whole words in the answer, without case and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from coinkit.judges.prompts import LETTERS
from coinkit.registry import METRICS
from coinkit.types import Prediction

_MARKS = re.compile(r'[^\w]+')
_PARSERS = {'mode', 'grounding_parse', 'minigpt_grounding_parse'}  # at their defaults a box is the first four numbers


def is_grounding(metric: str) -> bool:
    """Does this scorer compare boxes?"""
    entry = METRICS.entry(metric)
    return (entry.alias_of or entry.name).startswith('grounding')


def lenient_values(metric: Mapping[str, Any], rows: Sequence[Prediction]) -> list[bool | None]:
    """Per row whether it is right under the lenient form; None where there is no answer."""
    if not is_grounding(metric['type']):
        return [None if row.prediction is None or row.skipped else contains_gold(row) for row in rows]
    scorer = METRICS.build({key: value for key, value in metric.items() if key not in _PARSERS})
    values = scorer.score(rows).per_sample
    return [None if row.prediction is None or row.skipped else value == 1.0
            for row, value in zip(rows, values, strict=True)]


def contains_gold(row: Prediction) -> bool:
    """Is a gold answer in the answer, as whole words?"""
    answer = f' {normalised(row.prediction)} '
    return any(gold and f' {gold} ' in answer for gold in map(normalised, _golds(row)))


def normalised(text: str) -> str:
    """Lower case, without punctuation, words one space apart."""
    return _MARKS.sub(' ', text.lower()).strip()


def _golds(row: Prediction) -> Iterator[str]:
    yield from row.references
    index, choices = row.context.get('gold_index'), row.context.get('choices')
    if isinstance(index, int) and 0 <= index < len(LETTERS):
        yield LETTERS[index]
        if isinstance(choices, list | tuple) and index < len(choices):
            yield str(choices[index])
