"""ScienceQA: read one option letter out of the answer and compare its index with the gold index. Two ways of reading.

`scienceqa_coin` (zackschen/CoIN@41224655 `eval_science_qa.py`) takes the first token of one word character, so that "I
think B" is I and "It is a B" is A; the default looks for a letter that is an option. `scienceqa_llava`
(haotian-liu/LLaVA@c121f043, Ghy0501/HiDe-LLaVA@4dd0793a) wants "The answer is X" and one more character; the default
does not want that character. Context: `num_choices` (or `choices`) and `gold_index` (or the letter in `references`).
"""

from __future__ import annotations

import re
from abc import abstractmethod

from coinkit.errors import DataError
from coinkit.metrics.base import UNPARSED, ItemMetric, Verdict, verdict
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

LETTERS = 'ABCDE'
_ANSWER = re.compile(r'The answer is ([A-Z])')
_ANSWER_AND_MORE = re.compile(r'The answer is ([A-Z]).')  # "The answer is B" at the end of the text does not match
_LONE_CHARACTER = re.compile(r'\b\w\b')  # Unicode word characters: digits and '_' too


class _ScienceQA(ItemMetric):
    """Letter accuracy over all ids; a missing answer is wrong in both modes. A subclass says how a letter is read."""

    counts_missing_upstream = True
    gold_keys = ('gold_index',)

    def __init__(self, *, mode: Mode, scienceqa_letter: Mode | None, denominator: Mode | None):
        super().__init__(mode=mode, scienceqa_letter=scienceqa_letter, denominator=denominator)

    @property
    def published(self) -> bool:
        return self.switches['scienceqa_letter'] == 'upstream'

    def judge(self, item: Prediction) -> Verdict:
        num_choices, gold = num_options(item), gold_index(item)
        letter = self.letter(item.prediction, num_choices)
        if letter is None:
            return UNPARSED
        options = LETTERS[:num_choices]
        return verdict(len(letter) == 1 and letter in options and options.index(letter) == gold)

    def letter(self, text: str, num_choices: int) -> str | None:
        """The letter that the answer is read as; None = none found."""
        stated = stated_letter(text)
        return self.search(text, num_choices) if stated is None else stated

    @abstractmethod
    def search(self, text: str, num_choices: int) -> str | None:
        """The letter of an answer that neither is a letter nor begins like 'B. '."""


class ScienceQACoin(_ScienceQA):
    """`scienceqa_coin`: a lone letter anywhere in the answer."""

    name = 'scienceqa_coin'

    def __init__(self, *, mode: Mode = 'default', scienceqa_letter: Mode | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, scienceqa_letter=scienceqa_letter, denominator=denominator)

    def search(self, text: str, num_choices: int) -> str | None:
        tokens = _LONE_CHARACTER.findall(text)
        if self.published:
            return tokens[0].upper() if tokens else None
        options = LETTERS[:num_choices]
        upper = next((token for token in tokens if token in options), None)
        return upper or next((token.upper() for token in tokens if token in options.lower()), None)


class ScienceQALlava(_ScienceQA):
    """`scienceqa_llava` (alias `scienceqa_hide`): "The answer is X", stated exactly once."""

    name = 'scienceqa_llava'

    def __init__(self, *, mode: Mode = 'default', scienceqa_letter: Mode | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, scienceqa_letter=scienceqa_letter, denominator=denominator)

    def search(self, text: str, num_choices: int) -> str | None:
        found = _ANSWER_AND_MORE.findall(text) if self.published else list(set(_ANSWER.findall(text)))
        return found[0] if len(found) == 1 else None


def stated_letter(text: str) -> str | None:
    """The whole text is a letter, or it begins with 'B. '."""
    if len(text) == 1 and text in LETTERS:
        return text
    return text[0] if len(text) >= 3 and text[0] in LETTERS and text[1:3] == '. ' else None


def num_options(item: Prediction) -> int:
    choices = item.context.get('choices')
    count = item.context.get('num_choices', len(choices) if isinstance(choices, list | tuple) else choices)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(LETTERS):
        raise DataError(f"prediction '{item.id}': context has no usable number of choices (num_choices={count!r}); "
                        f'needed: num_choices 1..{len(LETTERS)} or the list choices.')
    return count


def gold_index(item: Prediction) -> int:
    gold = item.context.get('gold_index')
    if gold is None and item.references and item.references[0] in tuple(LETTERS):
        gold = LETTERS.index(item.references[0])
    if isinstance(gold, bool) or not isinstance(gold, int) or not 0 <= gold < len(LETTERS):
        raise DataError(f"prediction '{item.id}': no gold option; needed: gold_index in the context, or a letter "
                        f'A..{LETTERS[-1]} in references (given: {list(item.references)!r}).')
    return gold
