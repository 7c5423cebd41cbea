"""How InstructionGroups reads instructions: of a training set, of a test set, of one question; and what it cannot read.

A task's rows are read by the task's own template. A test set's task is not told: it is read by the template under which
its rows say what the tasks with that template say. All rows of a run are read once before it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coinkit.data.templates import LAST_LINE, Template, read_as_known
from coinkit.errors import DataError, Problem
from coinkit.methods.instruction_codebook import Group
from coinkit.types import Query, Sample

_READ: dict[tuple[str, Template], tuple[str, ...]] = {}  # equal fingerprints mean equal samples


def templates_of(benchmark: Any, lines: Mapping[str, int]) -> dict[str, Template]:
    """By task; `lines` go before the benchmark's patterns."""
    return {task.name: Template(line=lines[task.name]) if task.name in lines else
            Template((task.template,)) if task.template else LAST_LINE for task in benchmark.tasks}


def of_samples(samples: Any, template: Template, *, where: str, rows: Iterable[Sample] | None = None) -> tuple[str, ...]:
    """The instructions of a whole set: a process reads it once. `rows` are its rows, when somebody shows how far it is."""
    key = (samples.fingerprint, template)
    if key not in _READ:
        found = rows if rows is not None else (samples[i] for i in range(len(samples)))
        _READ[key] = template.distinct(found, where=where)
    return _READ[key]


def of_test_set(queries: Sequence[Query], templates: Mapping[str, Template], groups: Sequence[Group]) -> tuple[str, ...]:
    """By the task's template where the method is told the task."""
    where, task = 'test set', queries[0].task
    if task is not None:
        return templates.get(task, LAST_LINE).distinct(queries, where=f'{task}: {where}')
    known: dict[Template, set[str]] = {template: set() for template in templates.values()}
    for group in groups:
        for template in {templates.get(name, LAST_LINE) for name in group.tasks}:
            known.setdefault(template, set()).update(group.templates)
    return read_as_known(queries, known, where=where)


def problems(config: Any, datasets: Any, *, lines: Mapping[str, int], tests: bool, sample: bool) -> list[Problem]:
    """Rows that cannot be read: too many instructions, absent lines. `tests`: those of the test sets are read as well."""
    benchmark, found = config.benchmark, []
    templates = templates_of(benchmark, lines)
    own = [task.name for task in datasets.stream if task.template and task.name not in lines]
    if sample and own and not benchmark.templates:
        found.append(Problem('methods: group_granularity', f"'sample' reads a question without its task, and {own[0]} has a "
                             'template of its own.', 'Give benchmark.templates patterns that serve for any question.'))
    for index, task in enumerate(datasets.stream):
        template = templates[task.name]
        sets = [('training set', datasets.train(index))]
        if tests and (template.line is not None or not sample):
            sets.append(('test set', datasets.test(index)))
        for what, samples in sets:
            try:
                of_samples(samples, template, where=f'{task.name}: {what}')
            except DataError as error:
                found.append(Problem('' if str(error).startswith(task.name) else f'{task.name}: {what}', str(error)))
    return found
