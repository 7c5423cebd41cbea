"""How a benchmark asks a question: its protocol lines, which stand in the benchmark's config and nowhere else.

Converters write them into the rows they make of official annotation files; data files that come with instructions have
their own.
"""

from __future__ import annotations

import os

from coinkit.config.reading import find_config, read, show_path
from coinkit.errors import ConfigError, Problem, unknown

COIN = '_base_/benchmarks/coin'
PLACE = '{}'  # where the question stands in an instruction


def instruction_of(task: str, *, style: str = 'original', benchmark: str | os.PathLike[str] = COIN) -> str:
    """The instruction of a task: a text in which `{}` stands for the question (or none, where all rows ask the same)."""
    path = find_config(benchmark)
    styles = read(path).tree.get('benchmark', {}).get('instructions', {})
    where = f'{show_path(path)}: benchmark.instructions'
    if not styles:
        raise ConfigError(Problem(where, 'this benchmark has none: its data files bring their own.',
                                  'Give the instruction itself.'))
    if style not in styles:
        raise ConfigError(unknown(where, 'style', style, styles))
    if task not in styles[style]:
        raise ConfigError(unknown(f'{where}.{style}', 'task', task, styles[style]))
    return styles[style][task]


def asked(instruction: str, question: str) -> str:
    """The human turn. A question may hold braces, so this is no format string."""
    return instruction.replace(PLACE, question, 1)
