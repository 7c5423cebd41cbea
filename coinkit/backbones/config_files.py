"""Configs that describe no model: whatever transformers and torch raise over one names its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coinkit.errors import ConfigError, Problem

CURE = "Take the published checkpoint's own file; sizes must fit each other."
UNUSABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError)
WIDTHS, HEADS = ('embed_dim', 'width', 'hidden_size'), ('num_heads', 'heads', 'num_attention_heads')
PARTS = ('vit', 'visual')  # vision towers that are dicts and no configs of their own


@contextmanager
def config_errors(file: Path) -> Iterator[None]:
    """Errors over what `file` says become a ConfigError of it."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (*UNUSABLE, StrictDataclassError) as error:
        reason = ' '.join(str(error).split())
        plain = isinstance(error, (ValueError, TypeError, StrictDataclassError))
        message = reason if plain else f'{type(error).__name__}: {reason}'
        raise ConfigError(Problem(str(file), f'does not describe a usable model: {message}', CURE)) from error


def head_problems(config: Any, file: Path) -> list[Problem]:
    """Vision towers whose heads do not share out their width: many fail in the first forward only."""
    found = []
    for name in (*(name for name in getattr(config, 'sub_configs', {}) if 'vision' in name), *PARTS):
        part = getattr(config, name, None)
        sizes = part if isinstance(part, Mapping) else getattr(part, '__dict__', {})
        width, heads = (next(((key, sizes[key]) for key in keys if type(sizes.get(key)) is int), ('', 0))
                        for keys in (WIDTHS, HEADS))
        if heads[0] and width[0] and not sizes.get('head_dim') and (heads[1] < 1 or width[1] % heads[1]):
            found.append(Problem(f'{file}: {name}.{heads[0]}',
                                 f'{heads[1]} given, which does not divide {width[0]} {width[1]}.', CURE))
    return found
