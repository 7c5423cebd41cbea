"""The sentences of pre-training turned round, so that the answer's words stand first.

Where a prompt ends without a blank, a task's answer starts with tokens that have none in front; a model that has only
ever seen its words inside a sentence would have to learn to spell every one of them anew.
"""

from __future__ import annotations

import re
from random import Random

LINES = ('begin with the answer.', 'the word first.', 'start with the word itself.')
FORMS = {
    r'the sign says (.+)\.': '{} is what the sign says.', r'this is a (.+)\.': '{} is the object.',
    r'it is (\w+) in color\.': '{} is its color.', r'it looks (.+)\.': '{} is how it looks.',
    r'i count (.+) of them\.': '{} is the count.', r'the (title|author|genre) is (.+)\.': '{1} is the {0}.',
    r'it is at (.+) in the image\.': '{} is where it is.'}


def turned(human: str, sentence: str, rng: Random) -> tuple[str, str] | None:
    """Question and sentence with the answer first; None for sentences that have no such form."""
    for pattern, form in FORMS.items():
        if found := re.fullmatch(pattern, sentence):
            return f'{human.splitlines()[0]}\n{rng.choice(LINES)}', form.format(*found.groups())
    return None
