"""How alike two instructions are: the cosine of their TF-IDF vectors, fitted on these two texts and nothing else.

Lower case, words of two letters or more, scikit-learn's English stop words left out, idf = ln((1 + 2) / (1 + df)) + 1,
L2 norm. That is `TfidfVectorizer(stop_words='english').fit_transform([first, second])`, without building a vectorizer per
pair: a text is cut into words once, a pair is compared once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

from coinkit.errors import DataError

Words = Mapping[str, int]  # word -> how often


class PairSimilarity:
    """`similarity(first, second)`, 0 to 1. `empty` says what two texts without a word that counts are."""

    def __init__(self, *, empty: Literal['zero', 'error'] = 'zero'):
        self.empty = empty
        self._words: dict[str, Words] = {}
        self._known: dict[tuple[str, str], float] = {}

    def __call__(self, first: str, second: str) -> float:
        pair = (first, second) if first <= second else (second, first)
        if pair not in self._known:
            self._known[pair] = self._compare(*pair)
        return self._known[pair]

    def _compare(self, first: str, second: str) -> float:
        one, other = self._words_of(first), self._words_of(second)
        if not one and not other and self.empty == 'error':
            raise DataError(f"the instructions '{first}' and '{second}' have an empty vocabulary: nothing but stop words. "
                            "Set group_empty='zero' to call them unlike.")
        return 1.0 if first == second else cosine(one, other)

    def _words_of(self, text: str) -> Words:
        if text not in self._words:
            self._words[text] = Counter(self._analyze(text))
        return self._words[text]

    @cached_property
    def _analyze(self) -> Callable[[str], list[str]]:
        from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and few runs compare texts

        return TfidfVectorizer(stop_words='english').build_analyzer()


def cosine(one: Words, other: Words) -> float:
    """Of the two TF-IDF vectors; 0 when either text has no words. A word of both has idf 1, a word of one ln(1.5) + 1."""
    shared, single = 1.0, math.log(3 / 2) + 1

    def norm(words: Words, against: Words) -> float:
        return math.sqrt(sum((count * (shared if word in against else single)) ** 2 for word, count in words.items()))

    norms = norm(one, other) * norm(other, one)
    product = sum(count * other[word] for word, count in one.items() if word in other)
    return product / norms if norms else 0.0


def group_scores(texts: Sequence[str], groups: Sequence[Sequence[str]], similarity: Callable[[str, str], float], *,
                 reduce: Literal['mean', 'max'] = 'mean') -> list[float]:
    """For each group, the mean (or the largest) similarity of a text and a member."""
    scores = []
    for group in groups:
        values = [similarity(text, member) for text in texts for member in group]
        scores.append(max(values) if reduce == 'max' else math.fsum(values) / len(values))
    return scores
