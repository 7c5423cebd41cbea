"""ImageNet as CoIN scores it: case-sensitive, right when one of gold and prediction is a substring of the other.

Rule of zackschen/CoIN@41224655 `eval_ImagetNet.py`. An empty answer is a substring of everything, so upstream scores it
1 (and " " too when gold has a space); by default a blank answer is wrong. Upstream also pairs answers with annotations
by row position (`imagenet_align`, used by `coinkit.metrics.run.align`).
"""

from __future__ import annotations

from coinkit.metrics.base import UNPARSED, ItemMetric, Verdict, verdict
from coinkit.metrics.switches import Mode
from coinkit.types import Prediction


class ImageNetCoin(ItemMetric):
    """`imagenet_coin`: substring accuracy in either direction."""

    name = 'imagenet_coin'

    def __init__(self, *, mode: Mode = 'default', imagenet_empty: Mode | None = None,
                 imagenet_align: Mode | None = None, denominator: Mode | None = None):
        super().__init__(mode=mode, imagenet_empty=imagenet_empty, imagenet_align=imagenet_align,
                         denominator=denominator)

    @property
    def by_position(self) -> bool:
        """True when answers are paired with annotations by row, as upstream does."""
        return self.switches['imagenet_align'] == 'upstream'

    def judge(self, item: Prediction) -> Verdict:
        gold, text = self.one_reference(item), item.prediction
        if self.switches['imagenet_empty'] == 'default' and not text.strip():
            return UNPARSED
        return verdict(gold in text or text in gold)
