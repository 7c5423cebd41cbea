"""The VQA family: TextVQA and official VQA accuracy (soft scores over ten references), and CoIN's exact matches.

Rules of zackschen/CoIN@41224655, haotian-liu/LLaVA@c121f043 and GT-Vision-Lab/VQA@a013f004. CoIN's VizWiz and VQAv2
(`vqa_exact_upper`) compare one gold string exactly; they are not the official accuracy and must not be put beside it.
"""

from __future__ import annotations

from coinkit.errors import DataError
from coinkit.metrics.base import ItemMetric, Verdict, verdict
from coinkit.metrics.m4c import normalise, official, one_line
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

NUM_REFERENCES = 10


class TextVQAM4C(ItemMetric):
    """`textvqa_m4c`: both sides normalised; a reference given k times is worth its leave-one-out mean."""

    name = 'textvqa_m4c'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        if len(item.references) != NUM_REFERENCES:
            raise DataError(f"prediction '{item.id}': {len(item.references)} references; textvqa_m4c needs exactly "
                            f'{NUM_REFERENCES}.')
        answer = normalise(item.prediction)
        return Verdict(soft_score(sum(normalise(reference) == answer for reference in item.references)))


def soft_score(matches: int, total: int = NUM_REFERENCES) -> float:
    """Mean over the left-out references of min(1, matches among the others / 3): 0, .3, .6, .9, 1 for 0..4 of ten."""
    matching_left_out = matches * min(1.0, (matches - 1) / 3) if matches else 0.0
    return (matching_left_out + (total - matches) * min(1.0, matches / 3)) / total


class VQAv2Official(ItemMetric):
    """`vqa_v2_official`: leave-one-out soft score; nothing is normalised where all references are the same text."""

    name = 'vqa_v2_official'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        self.references(item)
        answer, golds = one_line(item.prediction), [one_line(reference) for reference in item.references]
        if len(set(item.references)) > 1:
            answer, golds = official(answer), [official(gold) for gold in golds]
        return Verdict(soft_score(golds.count(answer), len(golds)))


class VQAExactUpper(ItemMetric):
    """`vqa_exact_upper` (VizWiz, VQAv2): equal in upper case, nothing else."""

    name = 'vqa_exact_upper'

    def __init__(self, *, mode: Mode = 'default', denominator: Mode | None = None):
        super().__init__(mode=mode, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        return verdict(item.prediction.upper() == self.one_reference(item).upper())


class GQA(ItemMetric):
    """`gqa`: trailing periods off, lower case, equal to gold; only questions flagged balanced count."""

    name = 'gqa'

    def __init__(self, *, mode: Mode = 'default', gqa_strip: Mode | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, gqa_strip=gqa_strip, denominator=denominator)

    def counted(self, item: Prediction) -> bool:
        return bool(item.context.get('is_balanced', True))

    def convert(self, text: str) -> str:
        """The answer as it is compared: periods at its end are taken off once, so "yes. ." keeps one. Upstream leaves white
        space, so "yes. " stays as it is."""
        if self.switches['gqa_strip'] == 'default':
            return text.strip().rstrip('.').strip().lower()
        return text.rstrip('.').lower()

    def judge(self, item: Prediction) -> Verdict:
        return verdict(self.convert(item.prediction) == self.one_reference(item))


class OCRVQACoin(ItemMetric):
    """`ocrvqa_coin`: equal in lower case; upstream counts any answer that contains "Unanswerable" as wrong."""

    name = 'ocrvqa_coin'

    def __init__(self, *, mode: Mode = 'default', unanswerable: Mode | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, unanswerable=unanswerable, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        refused = self.switches['unanswerable'] == 'upstream' and 'Unanswerable' in item.prediction
        return verdict(not refused and item.prediction.lower() == self.one_reference(item).lower())
