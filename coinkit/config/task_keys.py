"""Keys of a benchmark's tasks that are wrong by what they say, not by their type: patterns, and letters that must differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from coinkit.config.reading import Source
from coinkit.errors import Problem

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'


def check_task_keys(source: Source) -> Iterator[Problem]:
    """Problems of `templates`, and of `template` and `letter` of all tasks; each has its type already."""
    benchmark = source.tree['benchmark']
    tasks = {f'benchmark.tasks.{number}': task for number, task in enumerate(benchmark['tasks'])}
    patterns = {f'benchmark.templates.{number}': each for number, each in enumerate(benchmark.get('templates', ()))}
    patterns |= {f'{key}.template': task.get('template', '') for key, task in tasks.items()}
    for key, pattern in patterns.items():
        yield from _pattern(source, key, pattern)
    yield from _letters(source, tasks)


def _pattern(source: Source, key: str, pattern: str) -> Iterator[Problem]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(source.where(key), f'{pattern!r} is no regular expression: {error}.')


def _letters(source: Source, tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """One each, all different; or none at all."""
    given = {key: task['letter'] for key, task in tasks.items() if task.get('letter')}
    for number, (key, letter) in enumerate(given.items()):
        where = source.where(f'{key}.letter')
        if len(letter) != 1 or letter not in LETTERS:
            yield Problem(where, f'given {letter!r}, allowed: one of A to Z.')
        elif letter in list(given.values())[:number]:
            other = next(tasks[each]['name'] for each, same in given.items() if same == letter)
            yield Problem(where, f'{letter!r} given for {tasks[key]["name"]}, and {other} has it already.',
                          'Give each task its own.')
    missing = [task['name'] for key, task in tasks.items() if key not in given]
    if given and missing:
        yield Problem(source.where('benchmark.tasks'), f'{", ".join(missing)} without a letter, and others have one.',
                      "Give every task its own, letter='A', or none.")
