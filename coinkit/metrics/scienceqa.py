"""ScienceQA as CoIN scores it: read one option letter out of the answer and compare its index with the gold index.

Rule of zackschen/CoIN@41224655 `eval_science_qa.py`. The published rule takes the first token of one word character,
so "I think B" is read as I and "It is a B" as A; the default looks for a letter that is an option of the problem.
Context: `num_choices` (or `choices`) and `gold_index` (or the letter in `references`).
"""

from __future__ import annotations

import re

from coinkit.errors import DataError
from coinkit.metrics.base import UNPARSED, ItemMetric, Verdict, verdict
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

LETTERS = 'ABCDE'
_LONE_CHARACTER = re.compile(r'\b\w\b')  # Unicode word characters: digits and '_' too


class ScienceQACoin(ItemMetric):
    """`scienceqa_coin`: letter accuracy over all ids; a missing answer is wrong in both modes."""

    name = 'scienceqa_coin'
    counts_missing_upstream = True

    def __init__(self, *, mode: Mode = 'default', scienceqa_letter: Mode | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, scienceqa_letter=scienceqa_letter, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        num_choices, gold = num_options(item), gold_index(item)
        letter = self.letter(item.prediction, num_choices)
        if letter is None:
            return UNPARSED
        options = LETTERS[:num_choices]
        return verdict(len(letter) == 1 and letter in options and options.index(letter) == gold)

    def letter(self, text: str, num_choices: int) -> str | None:
        """The letter (or, upstream, any lone character) that the answer is read as; None = none found."""
        stated = stated_letter(text)
        if stated is not None:
            return stated
        tokens = _LONE_CHARACTER.findall(text)
        if self.switches['scienceqa_letter'] == 'upstream':
            return tokens[0].upper() if tokens else None
        options = LETTERS[:num_choices]
        upper = next((token for token in tokens if token in options), None)
        return upper or next((token.upper() for token in tokens if token in options.lower()), None)


def stated_letter(text: str) -> str | None:
    """The whole text is a letter, or it begins with 'B. '."""
    if len(text) == 1 and text in LETTERS:
        return text
    return text[0] if len(text) >= 3 and text[0] in LETTERS and text[1:3] == '. ' else None


def num_options(item: Prediction) -> int:
    count = item.context.get('num_choices', len(item.context.get('choices', ())))
    if not isinstance(count, int) or not 1 <= count <= len(LETTERS):
        raise DataError(f"prediction '{item.id}': context has no usable number of choices (num_choices={count!r}); "
                        f'needed: num_choices 1..{len(LETTERS)} or the list choices.')
    return count


def gold_index(item: Prediction) -> int:
    gold = item.context.get('gold_index')
    if gold is None and item.references and item.references[0] in tuple(LETTERS):
        gold = LETTERS.index(item.references[0])
    if not isinstance(gold, int):
        raise DataError(f"prediction '{item.id}': no gold option; needed: gold_index in the context, or a letter "
                        f'A..{LETTERS[-1]} in references (given: {list(item.references)!r}).')
    return gold
