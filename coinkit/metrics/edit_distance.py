"""Levenshtein distance, of one pair and of many pairs at a time: the same numbers, from the bits of whole columns.

Myers 1999 in the form of Hyyrö 2003: a column of the table is where it rises and falls from one row to the next, two
integers of as many bits as the text has letters. For one pair these are Python integers of any length. For many pairs
whose first text fits in a machine word they are numpy words, a word per pair, and a step is taken for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np

WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)
_SIZES = (8, 16, 32, 64)  # bits of each
_LONGEST = 512  # of the second text: more steps than pairs do not pay
_CELLS = 1 << 22  # letters that are compared at a time: bounds the memory


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions and substitutions that make `b` of `a`."""
    places: dict[str, int] = {}
    for place, letter in enumerate(a):
        places[letter] = places.get(letter, 0) | 1 << place
    up, down = -1, 0  # bits beyond the text do not matter
    for same in map(places.get, b, repeat(0)):
        same |= down
        diagonal = ((same & up) + up ^ up) | same
        right = (down | ~(diagonal | up)) << 1 | 1
        up, down = (up & diagonal) << 1 | ~(diagonal | right), right & diagonal
    rows = (1 << len(a)) - 1
    return len(b) + (up & rows).bit_count() - (down & rows).bit_count()


def edit_distances(firsts: Sequence[str], seconds: Sequence[str]) -> np.ndarray:
    """The distance of each pair `firsts[i]`, `seconds[i]`."""
    distances = np.zeros(len(firsts), np.int64)
    heights, widths = lengths(firsts), lengths(seconds)
    alone = (heights > _SIZES[-1]) | (widths > _LONGEST)
    for i in np.flatnonzero(alone).tolist():
        distances[i] = edit_distance(firsts[i], seconds[i])
    for word, size, less in zip(WORDS, _SIZES, (-1, *_SIZES), strict=False):
        chosen = np.flatnonzero(~alone & (less < heights) & (heights <= size))
        chosen = chosen[np.argsort(-widths[chosen], kind='stable')]
        while len(chosen):
            now = chosen[:max(1, _CELLS // (size * max(1, widths[chosen[0]])))]
            chosen = chosen[len(now):]
            distances[now] = _of_words([firsts[i] for i in now.tolist()], [seconds[i] for i in now.tolist()], word)
    return distances


def lengths(texts: Sequence[str]) -> np.ndarray:
    """Of each text."""
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _of_words(rows: Sequence[str], columns: Sequence[str], word: type[np.unsignedinteger]) -> np.ndarray:
    """Distances of pairs; every `rows` text fits in the word, and the longest `columns` text comes first."""
    bits, one = 8 * np.dtype(word).itemsize, word(1)
    heights, widths = lengths(rows), lengths(columns)
    same_BL = _places(_letters(rows, bits), _letters(columns, max(1, int(widths[0]))), word)
    up_B, down_B = np.full(len(rows), ~word(0)), np.zeros(len(rows), word)  # bits beyond the text do not matter
    ends = np.searchsorted(-widths, -np.arange(1, widths[0] + 1), side='right')  # pairs that have a letter at each step
    for step, end in enumerate(ends.tolist()):
        up, down = up_B[:end], down_B[:end]
        same = same_BL[:end, step] | down
        diagonal = ((same & up) + up ^ up) | same
        right = (down | ~(diagonal | up)) << one | one
        up_B[:end], down_B[:end] = (up & diagonal) << one | ~(diagonal | right), right & diagonal
    inside = np.where(heights == bits, ~word(0), (one << (heights % bits).astype(word)) - one)
    return widths + _ones(up_B & inside) - _ones(down_B & inside)


def _letters(texts: Sequence[str], width: int) -> np.ndarray:
    """Code points, one row per text; zeros behind its end, which no step and no row looks at."""
    return np.array(texts, f'<U{width}').view(np.uint32).reshape(len(texts), width)


def _places(short_BS: np.ndarray, long_BL: np.ndarray, word: type[np.unsignedinteger]) -> np.ndarray:
    """For each letter of the long text the places in the short one that have it, as bits."""
    if short_BS.max() < 256 and long_BL.max() < 256:
        short_BS, long_BL = short_BS.astype(np.uint8), long_BL.astype(np.uint8)  # a quarter of the work
    equal_BLS = long_BL[:, :, None] == short_BS[:, None, :]
    return np.packbits(equal_BLS, axis=-1, bitorder='little').view(word)[..., 0]


def _ones(words: np.ndarray) -> np.ndarray:
    """Bits that are set in each word."""
    octets = words.view(np.uint8).reshape(len(words), -1)
    return np.unpackbits(octets, axis=1).sum(1, dtype=np.int64)
