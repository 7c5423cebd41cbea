"""The chains of CIA's released scripts on CoIN's eight tasks, for `cia_chain='released'`.

They are wired by hand, one script per task: where it starts from, whether it averages, and which tasks are answered by
one adapter. For the original and the ten-type instructions this is what the grouping computes; for the diverse ones
it is not (GQA averages although it opens a group; TextVQA and VizWiz are answered by OCR-VQA's adapter).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from coinkit.errors import Problem


class Link(NamedTuple):
    """`start`: whose adapter it starts from ('' = theta_0); `answers`: tasks of one name share their newest adapter."""

    start: str
    averaged: bool
    answers: str


ORIGINAL = {
    'ScienceQA': Link('', False, 'ScienceQA'),
    'TextVQA': Link('ScienceQA', False, 'VQA'),
    'ImageNet': Link('TextVQA', False, 'ImageNet'),
    'GQA': Link('TextVQA', True, 'VQA'),
    'VizWiz': Link('GQA', True, 'VQA'),
    'Grounding': Link('VizWiz', False, 'Grounding'),
    'VQAv2': Link('VizWiz', True, 'VQA'),
    'OCR-VQA': Link('VQAv2', True, 'VQA')}
DIVERSE = {**ORIGINAL, 'GQA': Link('ImageNet', True, 'VQA'), 'VizWiz': Link('TextVQA', True, 'VQA'),
           'VQAv2': Link('GQA', True, 'VQA')}
RELEASED = {'original': ORIGINAL, 'diverse': DIVERSE, '10type': ORIGINAL}


def chain_problems(style: str, tasks: Sequence[str]) -> list[Problem]:
    """Why a stream cannot be trained by the table: a task that is not in it, or that starts from one not trained yet."""
    cure = "Set cia_chain='computed', which works for any stream."
    links, before, problems = RELEASED[style], set[str](), []
    for name in tasks:
        if name not in links:
            known = ', '.join(links)
            problems.append(Problem('methods: cia_chain', f"'released' knows no task '{name}', only {known}.", cure))
        elif links[name].start and links[name].start not in before:
            problems.append(Problem('methods: cia_chain', f"'released' starts {name} from {links[name].start}, which this "
                                    'stream does not train before it.', cure))
        before.add(name)
    return problems
