"""The 120 contractions of the VQA evaluators: spellings with an apostrophe left out, and what they are mapped to.

The same table in GT-Vision-Lab/VQA and in the m4c evaluator, built from its rules instead of copied: most entries are
the word without its apostrophe; words with more are known with any one of them missing. Three oddities are part
of the metric: "somebody'd" becomes "somebodyd", and "let's" and "she's" map to themselves.
"""

from __future__ import annotations

from types import MappingProxyType

_ONE_APOSTROPHE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's I'm I've
isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd
they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd
who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
""".split()

_MORE_APOSTROPHES = """
couldn't've hadn't've mightn't've shouldn't've wouldn't've he'd've I'd've it'd've she'd've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've you'd've y'all'll y'all'd've 'ow's'at
""".split()

_IRREGULAR = {"somebody'd": 'somebodyd', "let's": "let's", "she's": "she's"}


def _without_one(word: str) -> list[str]:
    """The spellings of `word` in which exactly one apostrophe is missing."""
    return [word[:at] + word[at + 1:] for at, letter in enumerate(word) if letter == "'"]


def _table() -> dict[str, str]:
    table = {word.replace("'", ''): word for word in _ONE_APOSTROPHE}
    for word in _MORE_APOSTROPHES:
        table.update(dict.fromkeys(_without_one(word), word))
    return {**table, **_IRREGULAR}


CONTRACTIONS = MappingProxyType(_table())
