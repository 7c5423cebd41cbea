"""MLLM-CL's domain tasks: RS and AD (`mllmcl_rs`), Med, Sci, Fin, compared in lower case.

Rules of bjzhb666/MLLM-CL@80bf3890 `eval_ai2d.py`, `eval_pvqa.py`, `eval_sci.py`, `eval_finvis.py`. Quirks: a gold "a.b"
becomes "ab" in RS while the answer keeps its period; a gold with a period or a space cannot be met in Fin; "Texas, Ohio"
and "Ohio, Texas" have nothing in common on maps unless the items are trimmed (`mapqa_trim`).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from coinkit.errors import DataError
from coinkit.metrics.base import WRONG, Verdict, verdict
from coinkit.metrics.containment import ContainmentMetric, SubstringMatch
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction

EXACT_SCIENCE = ('AI2D', 'TQA', 'VQA', 'SciVerse')  # image names begin with the name of the data set, then '_'
LIST_QUESTION = 'Which states'


class MLLMCLRS(ContainmentMetric):
    """`mllmcl_rs` (RS and AD): the answer contains gold; one that has spaces, gold beside a space, '.' or ','."""

    name = 'mllmcl_rs'

    def __init__(self, *, mode: Mode = 'default', unanswerable: Mode | None = None,
                 substring_match: SubstringMatch | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, unanswerable=unanswerable, substring_match=substring_match, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        text, gold = item.prediction.lower(), self.one_reference(item).lower()
        if self.refused(item):
            return WRONG
        if ' ' in gold:
            return verdict(self.contains(text, gold))
        gold = gold.replace('.', '')
        if self.whole_words or ' ' not in text:
            return verdict(self.contains(text, gold))
        return verdict(any(form in text for form in (f' {gold}', f'{gold} ', f'{gold}.', f'{gold},')))


class MLLMCLMed(ContainmentMetric):
    """`mllmcl_med`: the answer contains gold."""

    name = 'mllmcl_med'

    def __init__(self, *, mode: Mode = 'default', unanswerable: Mode | None = None,
                 substring_match: SubstringMatch | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, unanswerable=unanswerable, substring_match=substring_match, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        gold = self.one_reference(item).lower()
        return verdict(not self.refused(item) and self.contains(item.prediction.lower(), gold))


class MLLMCLSci(ContainmentMetric):
    """`mllmcl_sci`: equality for AI2D, TQA, VQA, SciVerse; for maps, the share of the states named, or containment."""

    name = 'mllmcl_sci'

    def __init__(self, *, mode: Mode = 'default', unanswerable: Mode | None = None, mapqa_trim: Mode | None = None,
                 denominator: Mode | None = None):
        super().__init__(mode=mode, unanswerable=unanswerable, mapqa_trim=mapqa_trim, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        text, gold = item.prediction.lower(), self.one_reference(item).lower()
        exact, lists = family(item) in EXACT_SCIENCE, LIST_QUESTION in question(item)
        if self.refused(item):
            return WRONG
        if exact:
            return verdict(text == gold)
        return Verdict(self.recall(text, gold)) if lists else verdict(gold in text)

    def recall(self, text: str, gold: str) -> float:
        """The share of gold's items that the answer lists too; what else it lists does not matter."""
        wanted, named = self.items(gold), set(self.items(text))
        return sum(each in named for each in wanted) / len(wanted)

    def items(self, text: str) -> list[str]:
        trim = self.switches['mapqa_trim'] == 'default'
        return [each.strip() if trim else each for each in text.split(',')]


class MLLMCLFin(ContainmentMetric):
    """`mllmcl_fin`: equal to gold once spaces and periods are taken out of the answer."""

    name = 'mllmcl_fin'

    def __init__(self, *, mode: Mode = 'default', unanswerable: Mode | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, unanswerable=unanswerable, denominator=denominator)

    def judge(self, item: Prediction) -> Verdict:
        text = item.prediction.replace(' ', '').replace('.', '').lower()
        return verdict(not self.refused(item) and text == self.one_reference(item).lower())


def family(item: Prediction) -> str:
    """The data set that the picture is of: its file name up to the first '_'; nothing where there is no picture."""
    image = item.context.get('image')
    if isinstance(image, list | tuple):
        image = image[0] if image else None
    if image is None:
        return ''
    if not isinstance(image, str):
        raise DataError(f"prediction '{item.id}': context has no image name (image={image!r}); mllmcl_sci reads the "
                        'data set off it, e.g. "AI2D_17.png".')
    return PurePosixPath(image).name.split('_')[0]


def question(item: Prediction) -> str:
    """What was asked; only maps need it."""
    prompt = item.context.get('prompt')
    if isinstance(prompt, str):
        return prompt
    if family(item) in EXACT_SCIENCE:
        return ''
    raise DataError(f"prediction '{item.id}': context has no prompt (prompt={prompt!r}); mllmcl_sci needs it for "
                    f'questions on maps, to see whether they ask "{LIST_QUESTION}...".')
