"""An API key: read from the environment when it is needed, never stored, and struck out of every text that leaves here.

The config names the environment variable. Somebody who writes the key itself there gets an error that does not show it.
"""

from __future__ import annotations

import os
import re

from coinkit.errors import Problem

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
HIDDEN = '[key]'


class Secret:
    """The key in the environment variable `name`; None = the endpoint wants none."""

    def __init__(self, name: str | None):
        self.name = name

    def __repr__(self) -> str:
        return f'Secret({self.name or "none"})'

    def read(self) -> str:
        """The key, '' when there is none."""
        return os.environ.get(self.name, '').strip() if self.name else ''

    def name_problems(self, where: str) -> list[Problem]:
        """A name that is none; what was given is not shown, it may be a key."""
        if self.name is None or _NAME.fullmatch(self.name) and not self.name.startswith('sk_'):
            return []
        return [Problem(where, 'not the name of an environment variable (letters, digits and _). What was given is not '
                               'shown, because it may be a key.', "Example: api_key_env='OPENAI_API_KEY'.")]

    def problems(self, where: str) -> list[Problem]:
        """No key where one is wanted, or one that cannot be sent."""
        if self.name is None:
            return []
        key = self.read()
        if not key:
            return [Problem(where, f'the environment variable {self.name} is not set or empty.',
                            f'export {self.name}=... before this command.')]
        if not key.isascii() or not key.isprintable() or ' ' in key:
            return [Problem(where, f'the key in {self.name} has characters that cannot be sent (white space, line breaks '
                                   'or letters beyond ASCII).', 'Copy it again.')]
        return []

    def headers(self) -> dict[str, str]:
        key = self.read()
        return {'Authorization': f'Bearer {key}'} if key else {}

    def scrub(self, text: str) -> str:
        """The text without the key, should a server have repeated it."""
        key = self.read()
        return text.replace(key, HIDDEN) if key else text
