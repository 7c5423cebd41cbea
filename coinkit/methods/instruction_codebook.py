"""The codebook of InstructionGroups: which tasks share an adapter, by which instructions, and how that was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

SCHEMA = 'coinkit.codebook/1'


@dataclass
class Group:
    """Tasks that share an adapter; `stage` holds the newest one."""

    templates: list[str]
    tasks: list[str]
    stage: str


@dataclass(frozen=True)
class Decision:
    """What was done with a task. `group` counts from 0; `start` is the stage it started from, '' = where the run stood."""

    task: str
    group: int
    joins: bool
    averaged: bool
    start: str
    similarities: tuple[float, ...] = ()

    def __str__(self) -> str:
        listed = ', '.join(f'{value:.4f}' for value in self.similarities)
        if self.joins:
            known = f'similarity {self.similarities[self.group]:.4f}, groups {listed}' if listed else 'as released'
            return f'{self.task}: re-train group {self.group + 1} ({known})'
        return f'{self.task}: expand: new group {self.group + 1} ({f"groups {listed}" if listed else "the first"})'


@dataclass
class Codebook:
    """The groups in the order they were made, the decisions in the order of tasks."""

    groups: list[Group] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def add(self, decision: Decision, templates: tuple[str, ...], stage: str) -> None:
        """Put a task into its group, which its adapter will represent from now on."""
        if not decision.joins:
            self.groups.append(Group([], [], ''))
        group = self.groups[decision.group]
        group.templates += [text for text in templates if text not in group.templates]
        group.tasks.append(decision.task)
        group.stage = stage
        self.decisions.append(decision)

    def to_json(self) -> dict[str, Any]:
        return {'schema': SCHEMA, 'groups': [asdict(group) for group in self.groups],
                'decisions': [asdict(decision) for decision in self.decisions]}

    @classmethod
    def from_json(cls, blob: Mapping[str, Any]) -> Codebook:
        decisions = [Decision(**{**each, 'similarities': tuple(each['similarities'])}) for each in blob['decisions']]
        return cls([Group(**group) for group in blob['groups']], decisions)


def section(blob: Mapping[str, Any], *, note: str) -> tuple[str, str]:
    """The codebook as a section of the report."""
    codebook = Codebook.from_json(blob)
    groups = [(str(number), ', '.join(group.tasks), group.stage, _listed(group.templates))
              for number, group in enumerate(codebook.groups, 1)]
    decisions = [(str(each).partition(': ')[0], str(each).partition(': ')[2], each.start or 'the stage before',
                  'averaged' if each.averaged else '') for each in codebook.decisions]
    return 'Instruction groups', (f'<p>{escape(note)}</p>' + _table(('group', 'tasks', 'adapter', 'instructions'), groups)
                                  + _table(('task', 'decision', 'starts from', ''), decisions))


def _listed(templates: list[str], most: int = 12) -> str:
    more = f' ... and {len(templates) - most} more' if len(templates) > most else ''
    return ' · '.join(templates[:most]) + more


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    body = ''.join(row(cells, 'td') for cells in rows)
    return f'<div class="wide"><table><thead>{row(head, "th")}</thead><tbody>{body}</tbody></table></div>'
