"""Where a benchmark's files and pictures come from, and how large they are there: what `source` and `image_sources` say.

Either is a text, or dict(text=..., size='13 GB', pictures=82_783, archive='name'): the size of what is fetched, and how
many pictures a folder then holds. `archive` names a download that holds other places too; its size is that of all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coinkit.data.doctor.sizes import about, bytes_of, wrong_size
from coinkit.errors import ConfigError, Problem, unknown

Origin = str | Mapping[str, Any]
Origins = Mapping[str, Origin]  # by folder
KEYS = ('text', 'size', 'archive')


@dataclass(frozen=True)
class Source:
    """An origin, read: bytes and pictures are None where nobody says."""

    text: str = ''
    size: int | None = None
    pictures: int | None = None
    archive: str = ''

    @classmethod
    def read(cls, given: Origin) -> Source:
        """From a config; ConfigError tells all that is wrong with it."""
        if isinstance(given, str):
            return cls(given)
        if problems := wrong_origin('source', given, pictures=True):
            raise ConfigError(problems)
        return cls(given['text'], bytes_of(given.get('size', '')), given.get('pictures'), given.get('archive', ''))

    @property
    def advice(self) -> str:
        """'Get it from ...', behind a blank; nothing where nothing is known."""
        size = about(self.size) + (' with other data' if self.archive else '')
        return f' Get it from {self.text}{f", {size}" if self.size else ""}.' if self.text else ''


def wrong_origin(where: str, given: Any, *, pictures: bool = False) -> list[Problem]:
    """What is wrong with one of them; `pictures`: it is of a folder, and may count them."""
    keys = (*KEYS, 'pictures') if pictures else KEYS
    if isinstance(given, str):
        return []
    if not isinstance(given, Mapping):
        return [Problem(where, f'given {given!r}, allowed: a text or dict({", ".join(f"{key}=..." for key in keys)}).')]
    problems = [unknown(where, 'key', str(key), keys) for key in given if key not in keys]
    problems += [Problem(f'{where}.{key}', f'given {given[key]!r}, allowed: a text.')
                 for key in ('text', 'archive') if key in given and not isinstance(given[key], str)]
    if not given.get('text'):
        problems.append(Problem(f'{where}.text', 'missing; allowed: a text that says where to get it.'))
    count = given.get('pictures')
    if pictures and count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        problems.append(Problem(f'{where}.pictures', f'given {count!r}, allowed: a whole number from 1.'))
    return problems + wrong_size(f'{where}.size', given.get('size', ''))


def wrong_origins(dataset: str, source: Any, image_sources: Any) -> list[Problem]:
    """What is wrong with a dataset's `source` and `image_sources`."""
    problems = wrong_origin(f'{dataset}: source', source)
    if image_sources is not None and not isinstance(image_sources, Mapping):
        return [*problems, Problem(f'{dataset}: image_sources', f'given {image_sources!r}, allowed: a dict from folders to '
                                   'where they come from.')]
    return problems + [problem for folder, given in (image_sources or {}).items()
                       for problem in wrong_origin(f'{dataset}: image_sources[{folder!r}]', given, pictures=True)]
