"""Converters: CoIN's tasks from the official annotation files, for a user who does not have CoIN's JSON.

Each source is one small module with a `SOURCE`; `convert` writes a split of it as instruction rows. The instruction lines
come from the benchmark's config. Official files hold more rows than CoIN's, which are samples of some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from coinkit.datasets.convert.source import SPLITS, Found, Source, find
from coinkit.datasets.convert.writing import Written, described, write_split
from coinkit.errors import ConfigError, unknown

__all__ = ['NAMES', 'SPLITS', 'Found', 'Source', 'Written', 'convert', 'described', 'find', 'source_named']

_MODULES = {'scienceqa': 'scienceqa', 'textvqa': 'textvqa', 'imagenet': 'imagenet', 'gqa': 'gqa', 'vizwiz': 'vizwiz',
            'grounding': 'referring', 'refcoco': 'referring', 'refcoco+': 'referring', 'refcocog': 'referring',
            'vqav2': 'vqav2', 'ocrvqa': 'ocrvqa'}
NAMES = tuple(_MODULES)


def source_named(name: str) -> Source:
    """A source by its name, without regard to case and dashes: 'OCR-VQA' is 'ocrvqa'."""
    plain = name.lower().replace('-', '').replace('_', '')
    if plain not in _MODULES:
        raise ConfigError(unknown('SOURCE', 'source', name, NAMES))
    return import_module(f'{__name__}.{_MODULES[plain]}').SOURCES[plain]


def convert(source: Source, found: Found, split: str, file: Path, instruction: str, *, need_images: bool = False,
            advance: Callable[[int], None] = lambda count: None, tell: Callable[[int], None] = lambda rows: None) -> Written:
    """Write one split. `advance` hears how many bytes were read, `tell` how many rows are written."""
    return write_split(file, source.read(found.files, split, advance), split=split, instruction=instruction,
                       image_root=found.image_root, need_images=need_images, instruction_asks=source.instruction_asks,
                       tell=tell)
