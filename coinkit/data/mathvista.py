"""What the reader of MathVista's official file and its scorer both have to know of it: option letters and question ids.

`annot_testmini.json` spells the right option; the published check compares letters. MLLM-CL's rows name problem 7 of it
`testmini_7`.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

ID_PREFIX = 'testmini_'


def option_letter(choices: Sequence[object], answer: object) -> str | None:
    """The letter of the first option that is spelt as the answer; None when none of A to Z is."""
    return next((letter for letter, text in zip(ascii_uppercase, choices, strict=False) if str(text) == str(answer)), None)
