"""The answer normaliser of the VQA evaluators, with every quirk that published numbers contain.

Two steps that all of them share (punctuation; number words, articles and contractions: GT-Vision-Lab/VQA@a013f004), and
before them what m4c adds (haotian-liu/LLaVA@c121f043 `m4c_evaluator.py`, equal to mmf's): lower case, commas and
question marks out, " 's" split off.
"""

from __future__ import annotations

import re
from functools import lru_cache

from coinkit.metrics.contractions import CONTRACTIONS

MARKS = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = frozenset({'a', 'an', 'the'})
NUMBERS = {word: str(value) for value, word in enumerate(
    ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'])} | {'none': '0'}
MAX_PERIODS = 32  # the published call passes re.UNICODE (32) where `count` belongs
_PERIOD = re.compile(r'\.(?!\d)')
_DIGIT_COMMA = re.compile(r'\d,\d')


@lru_cache(maxsize=1 << 16)
def normalise(text: str) -> str:
    """`text` as the m4c evaluator compares it."""
    text = text.lower().replace(',', '').replace('?', '').replace("'s", " 's").strip()
    return map_words(strip_punctuation(one_line(text)))


def one_line(text: str) -> str:
    """New lines and tabs as spaces, and none at the ends."""
    return text.replace('\n', ' ').replace('\t', ' ').strip()


@lru_cache(maxsize=1 << 16)
def official(text: str) -> str:
    """The two steps of the official VQA evaluator: punctuation, then words."""
    return map_words(strip_punctuation(text))


def strip_punctuation(text: str) -> str:
    """Delete a mark everywhere if it touches a space anywhere (or a number like 1,000 occurs), else make it a space."""
    delete_all = _DIGIT_COMMA.search(text) is not None
    out = text
    for mark in MARKS:
        if mark in text:
            out = out.replace(mark, '' if delete_all or f'{mark} ' in text or f' {mark}' in text else ' ')
    return _PERIOD.sub('', out, count=MAX_PERIODS)


def map_words(text: str) -> str:
    """Number words to digits, articles out, contractions mended; single spaces."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return ' '.join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
