"""UCIT: exact matches (`ucit_exact`) and captions (`ucit_caption`).

Exact: equal in upper case, rule of Ghy0501/HiDe-LLaVA@4dd0793a. Captions: the unweighted mean of BLEU-1..4, METEOR,
ROUGE-L and CIDEr of the COCO caption toolkit, each x100, so that CIDEr can push it high and BLEU counts four times.
These are scores of the whole set: no item has one of its own, and CIDEr can exceed 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coinkit.errors import ConfigError, DataError, Problem, unknown
from coinkit.metrics import captions
from coinkit.metrics.base import bad_image_counts, refuse_duplicates
from coinkit.metrics.switches import Mode, resolve
from coinkit.metrics.vqa import VQAExactUpper
from coinkit.types import Prediction, Score

NOT_COMPARABLE = ('own tokeniser and no METEOR: the score is the mean of the other six and not comparable with '
                  'published numbers')


class UCITExact(VQAExactUpper):
    """`ucit_exact` (ImageNet-R, ArxivQA, IconQA, CLEVR-Math): equal in upper case, nothing else."""

    name = 'ucit_exact'


class UCITCaption:
    """`ucit_caption` (VizWiz-caption, Flickr30k): mean of seven caption scores; needs Java, or the simple tokeniser."""

    name = 'ucit_caption'
    needs_gold = True

    def __init__(self, *, mode: Mode = 'default', caption_align: Mode | None = None,
                 caption_tokenizer: Literal['ptb', 'simple'] = 'ptb', denominator: Mode | None = None):
        if caption_tokenizer not in captions.TOKENIZERS:
            raise ConfigError(unknown(f'metric {self.name}: caption_tokenizer', 'tokeniser', str(caption_tokenizer),
                                      captions.TOKENIZERS))
        self.switches = {**resolve(self.name, mode, caption_align=caption_align, denominator=denominator),
                         'caption_tokenizer': caption_tokenizer}

    @classmethod
    def preflight(cls, **config: object) -> list[Problem]:
        """Wrong options, and the missing package, found before a run starts."""
        try:
            cls(**config)
        except ConfigError as error:
            return list(error.problems)
        return captions.missing_package()

    @property
    def by_position(self) -> bool:
        """True when answers are paired with annotations by row, as upstream numbers its images."""
        return self.switches['caption_align'] == 'upstream'

    @property
    def by_rows(self) -> bool:
        """True when only the rows that are there count."""
        return self.switches['denominator'] == 'upstream'

    def score(self, predictions: Sequence[Prediction]) -> Score:
        """The mean, and each of its parts in `details`; a missing caption is an empty one."""
        if not self.by_rows:
            refuse_duplicates(predictions)
        rows = [item for item in predictions if item.prediction is not None or not self.by_rows]
        missing = sum(item.prediction is None for item in predictions)
        counts = {'items': len(rows), 'missing': missing, 'unparsed': 0, **bad_image_counts(predictions)}
        details = {'scorer': self.name, 'switches': dict(self.switches)}
        if not rows:
            return Score(None, None, counts, details)
        texts = [item.prediction or '' for item in rows]
        parts, why = captions.scores(texts, [references(item) for item in rows], self.switches['caption_tokenizer'])
        known = [value for value in parts.values() if value is not None]
        complete = len(known) == len(parts) or self.switches['caption_tokenizer'] == 'simple'
        value = sum(known) / len(known) if complete else None
        notes = {'why': why} if why else {}
        notes |= {'note': NOT_COMPARABLE} if self.switches['caption_tokenizer'] == 'simple' else {}
        return Score(value, None, counts, {**details, 'parts': parts, **notes})


def references(item: Prediction) -> list[str]:
    if not item.references:
        raise DataError(f"prediction '{item.id}': no reference caption. Give `references` in the line or --annotations.")
    return list(item.references)
