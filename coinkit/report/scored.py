"""How the cells of a run were scored, from its ledger: scorer, switches, counts; and what a reader must not miss of it.

A test sample whose picture could not be used stays in the denominator, but its score says something else than the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coinkit.report.aggregate import Run
from coinkit.report.events import read_events
from coinkit.report.tables import Table, file_name

LEDGER = 'ledger.jsonl'
_COUNTS = ('items', 'missing', 'unparsed', 'skipped', 'without_picture')
_MEANING = {'skipped': 'wrong, because their pictures could not be used', 'without_picture': 'asked without their pictures'}


@dataclass(frozen=True, slots=True)
class ScoredCell:
    """One cell, as its newest line in the ledger tells."""

    stage: str
    task: str
    scorer: str
    switches: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def scored_cells(run: Run) -> list[ScoredCell]:
    """In the order in which they were scored; none for a matrix without a run directory, or over several runs."""
    if run.directory is None:
        return []
    found = {}
    for event in read_events(run.directory / LEDGER):
        if event.get('event') == 'cell_scored':
            details = event.get('details') or {}
            scorer = details.get('scorer', event.get('metric', ''))
            found[event['stage'], event['task']] = ScoredCell(event['stage'], event['task'], scorer,
                                                              details.get('switches') or {}, event.get('counts') or {})
    return list(found.values())


def bad_image_flags(run: Run) -> list[str]:
    """A sentence per run and task for test samples whose pictures could not be used."""
    if run.members:
        return [flag for member in run.members for flag in bad_image_flags(member)]
    flags, scored = [], scored_cells(run)
    for task in run.tasks:
        cells = [cell for cell in scored if cell.task == task]
        for key, meaning in _MEANING.items():
            hit = [cell for cell in cells if cell.counts.get(key)]
            if hit:
                most = max(hit, key=lambda cell: cell.counts[key])
                flags.append(f'{run.name}: {task}: {most.counts[key]} of {most.counts.get("items", "?")} test samples are '
                             f'{meaning} ({len(hit)} of {len(cells)} cells).')
    return flags


def scorer_table(run: Run) -> Table | None:
    """Per task its newest cell: by which scorer and switches, and out of how many."""
    newest = {cell.task: cell for cell in scored_cells(run)}
    rows = tuple((task, (newest[task].stage, newest[task].scorer, _switches(newest[task].switches),
                         *(str(newest[task].counts.get(key, 0)) for key in _COUNTS)))
                 for task in run.tasks if task in newest)
    columns = ('after', 'scorer', 'switches', *(key.replace('_', ' ') for key in _COUNTS))
    return Table(f'scorers-{file_name(run.name)}', f'{run.name}: how the newest scores were made', 'task', columns,
                 rows) if rows else None


def _switches(switches: Mapping[str, Any]) -> str:
    """'default' or 'upstream' alone where every switch says so."""
    values = {str(value) for value in switches.values()}
    if len(values) == 1 and values <= {'default', 'upstream'}:
        return values.pop()
    return ', '.join(f'{key}={value}' for key, value in switches.items())
