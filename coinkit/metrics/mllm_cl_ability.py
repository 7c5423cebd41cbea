"""MLLM-CL's ability tasks OCR (OCRBench), VP (CV-Bench) and APP (the GUI part of MMT-Bench); Math is in `mathvista`.

Rules of bjzhb666/MLLM-CL@80bf3890 `eval_ocr.py`, `eval_sat.py`. APP has no local score: its answers are sent to the
external benchmark as a table of option letters, which `table` makes; the score that comes back is given as `returned`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from coinkit.errors import ConfigError, DataError, Problem
from coinkit.metrics.base import Verdict, bad_image_counts, refuse_duplicates, verdict
from coinkit.metrics.containment import ContainmentMetric, SubstringMatch
from coinkit.metrics.switches import Mode, resolve
from coinkit.types import Prediction, Score

FORMULAS = 'Handwritten Mathematical Expression Recognition'
NO_ANSWER = 'Z'
_VP_DROPPED = str.maketrans('', '', ' \n.')


class MLLMCLOCR(ContainmentMetric):
    """`mllmcl_ocr`: any reference contained in the answer; handwritten formulas keep their case and lose their spaces."""

    name = 'mllmcl_ocr'

    def __init__(self, *, mode: Mode = 'default', ocrbench_norm: Mode | None = None,
                 substring_match: SubstringMatch | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, ocrbench_norm=ocrbench_norm, substring_match=substring_match,
                         denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        golds = self.references(item)
        if self.mode == 'default':  # a blank is in every answer
            golds = tuple(gold for gold in golds if gold.strip())
            if not golds:
                raise DataError(f"prediction '{item.id}': its reference answers are blank. Give one that is not.")
        convert = as_formula if category(item) == FORMULAS else as_line
        text = convert(item.prediction)
        return verdict(any(self.contains(text, convert(reference)) for reference in golds))

    def total(self, values: Sequence[float]) -> float:
        """Published: hits / 10, which is percent for OCRBench's 1000 items alone."""
        return sum(values) / 10 if self.switches['ocrbench_norm'] == 'upstream' else super().total(values)


def as_formula(text: str) -> str:
    return text.strip().replace('\n', '').replace(' ', '')


def as_line(text: str) -> str:
    return text.lower().strip().replace('\n', '')


def category(item: Prediction) -> str:
    """OCRBench's kind of question: `category`, or `answer_type` as MLLM-CL's files call it."""
    found = item.context.get('category', item.context.get('answer_type'))
    if not isinstance(found, str):
        raise DataError(f"prediction '{item.id}': context has no category (given: {found!r}); mllmcl_ocr needs category "
                        f"or answer_type, since '{FORMULAS}' has a rule of its own.")
    return found


class MLLMCLVP(ContainmentMetric):
    """`mllmcl_vp`: the answer contains gold, both without spaces, new lines and periods; counting is reported apart."""

    name = 'mllmcl_vp'

    def __init__(self, *, mode: Mode = 'default', substring_match: SubstringMatch | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, substring_match=substring_match, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        text, gold = item.prediction, self.one_reference(item)
        if not self.whole_words:  # without spaces there are no words
            text, gold = text.translate(_VP_DROPPED), gold.translate(_VP_DROPPED)
        return verdict(self.contains(text.lower(), gold.lower()))

    def details(self, predictions: Sequence[Prediction], per_sample: Sequence[float | None]) -> dict[str, Any]:
        """Counting questions alone (published values are multiples of 1/788, their number); null when there are none."""
        values = [value for item, value in zip(predictions, per_sample, strict=True)
                  if value is not None and is_counting(item)]
        return {'counting': self.total(values) if values else None, 'counting_items': len(values)}


def is_counting(item: Prediction) -> bool:
    return any(str(item.context.get(key, '')).lower() in ('count', 'counting') for key in ('task', 'type'))


class MLLMCLApp:
    """`mllmcl_app`: no score here; the answers become a table for the external benchmark (`coinkit score --table`)."""

    name = 'mllmcl_app'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None, returned: float | None = None):
        self.switches = resolve(self.name, mode, denominator=denominator)
        self.returned = returned
        number = isinstance(returned, int | float) and not isinstance(returned, bool)
        if returned is not None and not (number and 0 <= returned <= 100):
            raise ConfigError(Problem('metric mllmcl_app: returned', f'given {returned!r}; a percentage is wanted.'))

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        """A score that came back belongs to one table, so a run cannot have it before it has begun."""
        if config.get('returned') is None:
            return []
        return [Problem('', 'mllmcl_app: returned is the score of one predictions file, not of every stage.',
                        'Leave it out, and give it to: coinkit score FILE --metric mllmcl_app --option returned=...')]

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """The returned score, or the reason why there is none yet."""
        refuse_duplicates(predictions)
        missing = sum(item.prediction is None for item in predictions)
        items = len(predictions) - missing if self.switches['denominator'] == 'upstream' else len(predictions)
        why = {} if self.returned is not None else {
            'why': 'scored by MMT-Bench from a table of option letters: coinkit score --metric mllmcl_app --table FILE'}
        counts = {'items': items, 'missing': missing, 'unparsed': 0, **bad_image_counts(predictions)}
        return Score(self.returned, None, counts, {'scorer': self.name, 'switches': dict(self.switches), **why})

    def table(self, predictions: Sequence[Prediction]) -> Iterator[tuple[str, str]]:
        """The submission: index and answer of each row, answers stripped and in upper case, 'Z' for none."""
        yield 'index', 'prediction'
        for item in predictions:
            answered = item.prediction is not None and not item.skipped
            answer = item.prediction.strip().upper() if answered else NO_ANSWER
            yield item.id.replace('ALL_', ''), answer
