"""How `coinkit data` shows what it found: two tables, the findings, what is still to get, and whether the data is ready.

Tables leave out columns that would be empty, and in a narrow terminal those that the list below them tells as well.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from coinkit.cli.screen import show
from coinkit.data.doctor.findings import Finding, faults
from coinkit.data.doctor.report import Line, Report
from coinkit.data.doctor.sizes import about, measured

_THERE = ('present', 'fewer rows', 'more rows')


class _Column(NamedTuple):
    """A column of a table; of those with `spare`, the highest goes first where there is no room."""

    name: str
    values: Sequence[str]
    right: bool = False
    spare: int = 0

    @property
    def width(self) -> int:
        return max(map(len, (self.name, *self.values))) + 3  # with its border


def show_report(report: Report, *, strict: bool = False) -> int:
    """Print it; 0 when the data is ready, else 1."""
    files = [line for line in report.lines if line.kind != 'folder']
    folders = [line for line in report.lines if line.kind == 'folder']
    if files:
        show(_table(_file_columns(report, files), f'{report.benchmark} in {report.root}'))
    if folders:
        show(_table(_folder_columns(report, folders), 'pictures'))
    if report.overlaps:
        show(_overlap_table(report))
    print(f'looked at: {", ".join(f"{count:,} {name}" for name, count in report.checked.items()) or "nothing"}')
    wrong = faults(report.findings)
    notes = [finding for finding in report.findings if finding not in wrong]
    _list('notes', notes, report.root)
    if report.ready(strict=strict):
        print(f'\nready: {report.benchmark} in {report.root}' + (f', with {_many(len(notes), "note")}' if notes else ''))
        return 0
    _list('not ready', wrong or notes, report.root)
    count = len(report.findings) if strict else len(wrong)
    print(f'\nnot ready: {report.benchmark} in {report.root}: {count} to mend'
          + (' (--strict: notes too)' if strict and notes else ''))
    if told := to_get(report):
        print(told)
    return 1


def to_get(report: Report) -> str:
    """'still to get: about 47 GB known, 3 of unknown size'; nothing when nothing is missing."""
    missing = report.still_to_get()
    parts = [*([f'{about(missing.size)}{" known" if missing.unknown else ""}'] if missing.known else []),
             *([f'{missing.unknown:,} of unknown size'] if missing.unknown else [])]
    return f'still to get: {", ".join(parts)}' if parts else ''


def _file_columns(report: Report, lines: Sequence[Line]) -> list[_Column]:
    published = ['not published' if line.published is None and line.count is not None else _number(line.published)
                 for line in lines]
    return [_Column('file', [_short(line.place, report.root) for line in lines]),
            _Column('state', [line.state for line in lines]),
            _Column('for', [_users(line) for line in lines], spare=1),
            _Column('rows', [_number(line.count) for line in lines], right=True),
            _Column('published', published, right=True),
            _Column('size', [_size(line) for line in lines], right=True),
            _Column('from', ['' if line.state in _THERE else line.source for line in lines], spare=2)]


def _folder_columns(report: Report, lines: Sequence[Line]) -> list[_Column]:
    return [_Column('image folder', [_short(line.place, report.root) for line in lines]),
            _Column('state', [line.state for line in lines]),
            _Column('for', [_users(line) for line in lines], spare=1),
            _Column('there', [_number(line.count) for line in lines], right=True),
            _Column('named', [_number(line.wanted) for line in lines], right=True),
            _Column('published', [_number(line.published) for line in lines], right=True),
            _Column('size', [_size(line) for line in lines], right=True),
            _Column('from', ['' if line.state == 'present' else line.source for line in lines], spare=2)]


def _table(columns: Sequence[_Column], title: str) -> Table:
    """The columns that say something and for which there is room; the first is broken rather than cut."""
    kept = [column for column in columns if any(column.values)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # a pipe has room for all
    while room is not None and sum(column.width for column in kept) >= room and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    table = Table(title=title)
    for column in kept:
        table.add_column(column.name, justify='right' if column.right else 'left', overflow='fold',
                         no_wrap=None if column.name == 'from' or column is kept[0] else True)
    left = 10_000 if room is None else room - 4 - sum(column.width for column in kept[1:])
    for place, *row in zip(*(column.values for column in kept), strict=True):
        table.add_row(_broken(place, left), *row)
    return table


def _broken(place: str, width: int) -> str:
    """A path on as many lines as it needs, each of whole folders where they are not longer than a line."""
    lines = ['']
    for part in re.findall('[^/]*/|[^/]+', place):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append('')
        lines[-1] += part
    return '\n'.join(lines)


def _size(line: Line) -> str:
    """As counted on the disk; of what is not whole, as its source announces it."""
    announced = about(line.expected_size).replace('about', 'part of' if line.archive else 'about', 1)
    if line.size is not None:
        return measured(line.size) + (f' of {announced}' if line.state == 'incomplete' and announced else '')
    return (announced or 'unknown') if line.state in ('missing', 'incomplete') else ''


def _overlap_table(report: Report) -> Table:
    table = Table('test set', 'pictures in training', 'questions in training', 'both in one row')
    for column in table.columns[1:]:
        column.justify = 'right'
    for each in report.overlaps:
        table.add_row(each.task, f'{each.images:,} of {each.test_images:,}', f'{each.questions:,} of {each.test_rows:,}',
                      f'{each.rows:,} of {each.test_rows:,}')
    return table


def _list(title: str, findings: Sequence[Finding], root: str) -> None:
    """Places are told from the root on, which the title of the table names."""
    above = re.compile(rf'(?<![\w./-]){re.escape(str(Path(root)))}/') if root.strip('./') else None
    if findings:
        print(f'\n{title}:')
        for finding in findings:
            print(f'  - {above.sub("", str(finding)) if above else finding}')


def _users(line: Line) -> str:
    """'VQAv2 train, VQAv2 test' is 'VQAv2'."""
    tasks: dict[str, list[str]] = {}
    for name in line.used_by:
        task, _, split = name.rpartition(' ')
        tasks.setdefault(task, []).append(split)
    return ', '.join(task if {'train', 'test'} <= set(splits) else f'{task} {splits[0]}' for task, splits in tasks.items())


def _short(place: str, root: str) -> str:
    path = Path(place)
    return str(path.relative_to(root)) if path.is_relative_to(root) else place


def _many(count: int, what: str) -> str:
    return f'{count:,} {what}{"" if count == 1 else "s"}'


def _number(count: int | None) -> str:
    return '' if count is None else f'{count:,}'
