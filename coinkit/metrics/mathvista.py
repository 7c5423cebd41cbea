"""MathVista as MLLM-CL scores it: read the answer out of free text in two passes, with a judge between them.

Pass 1 (`first_pass`) reads the answer as it was given. Where it finds nothing, a judge model extracts a short answer,
which the prediction's context then carries as `extraction`; pass 2 (`check`) compares it with gold. Without a judge the
answer itself is checked. Rules of bjzhb666/MLLM-CL@80bf3890 `eval_math.py`: published, a free-form text or list is never
right, and an answer of 0 always goes to the judge (`mathvista_freeform`). Context: `question_type` (multi_choice or
free_form), `answer_type` (integer, float, text, list), `choices` and `answer_option` (its letter; else the reference
spells one of the choices).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from coinkit.data.mathvista import ID_PREFIX, option_letter
from coinkit.errors import DataError
from coinkit.metrics.base import UNPARSED, ItemMetric, Verdict, verdict
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

REFUSALS = ("Sorry, I can't help with images of people yet.", "I can't process this file.",
            "I'm sorry, but without the image provided", 'Cannot determine the answer')
NO_ANSWER = 'Z'
KINDS = ('integer', 'float', 'text', 'list')
_MARKS = str.maketrans(dict.fromkeys('.()[],:;!*#{}', ' '))
_LONGEST_LIST = 10_000  # characters; what is longer is no answer


class MathVistaCheck(ItemMetric):
    """`mathvista_check`: the option that the answer names, or its number, text or list, is gold."""

    name = 'mathvista_check'
    gold_keys = ('answer_option',)
    id_prefix = ID_PREFIX

    def __init__(self, *, mode: Mode = 'default', mathvista_freeform: Mode | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, mathvista_freeform=mathvista_freeform, denominator=denominator)

    @property
    def published(self) -> bool:
        return self.switches['mathvista_freeform'] == 'upstream'

    def judge(self, item: Prediction) -> Verdict:
        extracted = item.context.get('extraction')
        if isinstance(extracted, str) and self.first_pass(item) is None:
            return self.check(item, extracted)
        return self.check(item, item.prediction)

    def needs_extraction(self, item: Prediction) -> bool:
        """Whether a judge should read the short answer out of this one (`coinkit judge RUN --extract`)."""
        return item.prediction is not None and not item.skipped and self.first_pass(item) is None

    def first_pass(self, item: Prediction) -> Any:
        """What the answer says without a judge: an option's letter, right or wrong; a right free-form answer; or None."""
        if is_choice(item):
            return find_option(item.prediction, options(item))
        if not self.check(item, item.prediction).value:
            return None
        value = self.read(item, item.prediction)
        return None if self.published and value == 0 else value

    def check(self, item: Prediction, text: str) -> Verdict:
        """Is `text`, the answer or what was extracted from it, the gold answer?"""
        if is_choice(item):
            letter = find_option(text, options(item))
            return UNPARSED if letter is None else verdict(letter == answer_option(item))
        found, gold = self.read(item, text), self.read(item, self.one_reference(item))
        return UNPARSED if found is None else verdict(gold is not None and found == gold)

    def read(self, item: Prediction, text: str) -> Any:
        """A free-form answer as what it should be: a whole number, a number, a text, a list; None = it is not one."""
        kind = item.context.get('answer_type')
        if kind not in KINDS:
            raise DataError(f"prediction '{item.id}': context has answer_type={kind!r}; mathvista_check needs one of "
                            f'{", ".join(KINDS)}.')
        if kind in ('integer', 'float'):
            try:
                return int(text) if kind == 'integer' else float(text)
            except ValueError:
                return None
        if self.published:
            return None
        return read_list(text) if kind == 'list' else text.strip().lower()

    def details(self, predictions: Sequence[Prediction], per_sample: Sequence[float | None]) -> dict[str, Any]:
        """How many answers a judge should extract, and how many it has."""
        wanting = [item for item in predictions if self.needs_extraction(item)]
        return {'needs_judge': len(wanting), 'extracted': sum('extraction' in item.context for item in wanting)}


def is_choice(item: Prediction) -> bool:
    kind = item.context.get('question_type')
    if kind not in ('multi_choice', 'free_form'):
        raise DataError(f"prediction '{item.id}': context has question_type={kind!r}; mathvista_check needs "
                        "'multi_choice' or 'free_form'.")
    return kind == 'multi_choice'


def options(item: Prediction) -> Mapping[str, str]:
    """Letter to text of the options; a list written as text is read."""
    given = item.context.get('choices')
    listed = read_list(given) if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not 1 <= len(listed) <= len(ascii_uppercase):
        raise DataError(f"prediction '{item.id}': context has choices={given!r}; mathvista_check needs the list of "
                        'options of a multi_choice question.')
    return {letter: str(text) for letter, text in zip(ascii_uppercase, listed, strict=False)}


def answer_option(item: Prediction) -> str:
    """The letter of the right option; where none is given, as in MathVista's own file, that of the option gold spells."""
    letter = item.context.get('answer_option')
    if letter is None and len(set(item.references)) == 1:
        letter = option_letter(list(options(item).values()), item.references[0])
    if not isinstance(letter, str) or len(letter) != 1:
        raise DataError(f"prediction '{item.id}': context has answer_option={letter!r}; mathvista_check needs the letter "
                        'of the right option of a multi_choice question, or a reference that is one of the choices '
                        f'(given: {list(item.references)!r}).')
    return letter


def find_option(text: str, choices: Mapping[str, str]) -> str | None:
    """The one option that the text names by letter, else by its text; 'Z' for a refusal; None when none or several."""
    if any(refusal in text for refusal in REFUSALS):
        return NO_ANSWER
    words = set(text.translate(_MARKS).split())
    named = [letter for letter in choices if letter in words]
    if len(named) == 1:
        return named[0]
    if not named and NO_ANSWER in words:
        return NO_ANSWER
    spelled = [letter for letter, choice in choices.items() if choice.lower() in text.lower()]
    return spelled[0] if len(spelled) == 1 else None


def read_list(text: str) -> list[Any] | None:
    """The list that the text writes as a Python literal, or None."""
    if len(text) > _LONGEST_LIST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # odd escapes in a string of the answer
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return list(value) if isinstance(value, list | tuple) else None
