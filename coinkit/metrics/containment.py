"""Is gold in the answer? The rule that MLLM-CL scores most of its tasks by, and the switch that all of them share.

As published it is a substring: "30" and "13 cars" contain "3", "cat" contains "a". Published numbers depend on it, so
it is the default too; `substring_match='word'` wants whole words.
"""

from __future__ import annotations

import re
from typing import Literal

from coinkit.metrics.base import ItemMetric
from coinkit.types import Prediction

SubstringMatch = Literal['default', 'upstream', 'word']


class ContainmentMetric(ItemMetric):
    """A scorer with `substring_match`, `unanswerable` or both."""

    more_values = {'substring_match': ('word',)}

    @property
    def whole_words(self) -> bool:
        return self.switches['substring_match'] == 'word'

    def contains(self, text: str, gold: str) -> bool:
        return has_words(text, gold) if self.whole_words else gold in text

    def refused(self, item: Prediction) -> bool:
        """Published: an answer with "Unanswerable" in it is wrong, whatever gold is."""
        return self.switches['unanswerable'] == 'upstream' and 'Unanswerable' in item.prediction


def has_words(text: str, gold: str) -> bool:
    """Is gold in the text, with no letter or digit right beside it?"""
    return bool(gold) and re.search(rf'(?<!\w){re.escape(gold)}(?!\w)', text) is not None
