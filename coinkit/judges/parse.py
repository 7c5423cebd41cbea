"""Reading the score out of a judge's answer, and the score of a file: 100 * sum / (10 * items).

'strict' reads one number from 0 to 10 with an optional label and an optional "/10"; anything else is unparsed, counts 0
and is reported. 'upstream' is the published reading (zackschen/CoIN@41224655 `evaluate_score.py`), which takes the first
digit of most texts ("Score: 10" is 1), subtracts negative values and rounds the result.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from coinkit.errors import ConfigError, DataError, unknown
from coinkit.judges.base import PARSES, Parse
from coinkit.types import Prediction, Score

SCORER = 'judge_parse_coin'
FULL = 10.0
_STRICT = re.compile(  # '*+' gives nothing back: of much white space each bit would be tried twice
    r'(?:(?:score|rating)\s*+:?\s*+)?([+-]?(?:\d++(?:\.\d++)?|\.\d++))(?:\s*+/\s*+10|\s*+out\s*+of\s*+10)?\s*+\.?',
    re.IGNORECASE | re.ASCII)
_FIRST_DIGIT = re.compile(r'[1-9]')


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: a value (0 when nothing could be read) and whether anything was."""

    value: float
    parsed: bool = True


UNREADABLE = Reading(0.0, parsed=False)


def read_strict(text: str) -> Reading:
    """One number from 0 to 10, with or without label and "/10"."""
    found = _STRICT.fullmatch(text.strip())
    value = float(found.group(1)) if found else math.nan
    return Reading(abs(value)) if 0 <= value <= FULL else UNREADABLE  # abs: no negative zero


def read_upstream(text: str) -> Reading:
    """The published reading: the whole text as a number, else the part before '/', else the first digit 1 to 9."""
    whole = _float(text)
    if whole is not None:
        return Reading(whole) if whole <= FULL and math.isfinite(whole) else UNREADABLE
    if '/' in text:
        head = text.partition('/')[0]
        value = _float(head) if head.isnumeric() else None
        return Reading(value) if value is not None and value <= FULL else UNREADABLE
    digit = _FIRST_DIGIT.search(text)
    if digit:
        return Reading(float(digit.group()))
    return Reading(0.0, parsed='0' in text)


READERS = {'strict': read_strict, 'upstream': read_upstream}


def read(text: str, parse: Parse) -> Reading:
    return READERS[parse](text)


def final_score(total: float, items: int, parse: Parse) -> float | None:
    """Percent of the most that could be reached; None without items. Published scores are whole, ties to even, and divided
    before they are multiplied: 5.75 of 10 is 57.49... and so 57."""
    if not items:
        return None
    value = total / (FULL * items) * 100.0 if parse == 'upstream' else 100 * total / (FULL * items)
    if not math.isfinite(value):
        raise DataError(f'the ratings add up to {total}: the published reading subtracts negative ones without a limit. '
                        "Use parse='strict'.")
    return float(round(value)) if parse == 'upstream' else value


def add_up(readings: Iterable[Reading | None], parse: Parse) -> float:
    """The sum of what was read. Published it is added one by one, which decides what a tie is rounded to."""
    values = (each.value for each in readings if each is not None)
    return reduce(add, values, 0.0) if parse == 'upstream' else math.fsum(values)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class JudgeParse:
    """`judge_parse_coin` as a scorer of a file whose predictions are a judge's answers.

    `mode` 'upstream' reads as published and divides by the rows that are there, 'default' reads strictly and divides by all
    items; `judge_parse` and `denominator` set each by its own name and win.
    """

    name = SCORER

    def __init__(self, *, mode: str = 'default', judge_parse: str | None = None, denominator: str | None = None):
        given = {'mode': mode, 'judge_parse': 'default' if judge_parse is None else judge_parse,
                 'denominator': 'default' if denominator is None else denominator}
        allowed = {key: ('default', 'upstream') if key == 'denominator' else ('default', *PARSES) for key in given}
        problems = [unknown(f'metric {SCORER}: {key}', key, str(value), allowed[key])
                    for key, value in given.items() if value not in allowed[key]]
        if problems:
            raise ConfigError(problems)
        chosen = mode if judge_parse is None else judge_parse
        self.parse: Parse = 'upstream' if chosen == 'upstream' else 'strict'
        divided = denominator or ('upstream' if mode == 'upstream' else 'default')
        self.switches = {'judge_parse': self.parse, 'denominator': divided}

    @property
    def by_rows(self) -> bool:
        """True when only the rows that are there are divided by."""
        return self.switches['denominator'] == 'upstream'

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """Percent over all items; an item without an answer (text None) counts 0, or not at all by rows."""
        twice = [key for key, times in Counter(item.id for item in predictions).items() if times > 1]
        if twice and not self.by_rows:
            raise DataError(f'duplicate prediction ids: {", ".join(map(repr, twice[:5]))}. Each id may be answered once.')
        missing = sum(item.prediction is None for item in predictions)
        readings = [UNREADABLE if item.prediction is None else read(item.prediction, self.parse) for item in predictions]
        items = len(readings) - missing if self.by_rows else len(readings)
        value = final_score(add_up(readings, self.parse), items, self.parse)
        counts = {'items': items, 'missing': missing, 'unparsed': sum(not r.parsed for r in readings) - missing}
        per_sample = tuple(None if self.by_rows and item.prediction is None else each.value / FULL
                           for item, each in zip(predictions, readings, strict=True))
        return Score(value, per_sample, counts, {'scorer': SCORER, 'switches': dict(self.switches)})
