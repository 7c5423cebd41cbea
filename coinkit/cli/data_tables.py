"""How `coinkit data` shows what it found: two tables, the findings, and one last line that says whether it is ready."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from coinkit.cli.screen import show
from coinkit.data.doctor.findings import Finding, faults
from coinkit.data.doctor.report import Line, Report

_STEPS = ('B', 'kB', 'MB', 'GB', 'TB')


def show_report(report: Report, *, strict: bool = False) -> int:
    """Print it; 0 when the data is ready, else 1."""
    files = [line for line in report.lines if line.kind != 'folder']
    folders = [line for line in report.lines if line.kind == 'folder']
    if files:
        show(_file_table(report, files))
    if folders:
        show(_folder_table(report, folders))
    if report.overlaps:
        show(_overlap_table(report))
    print(f'looked at: {", ".join(f"{count:,} {name}" for name, count in report.checked.items()) or "nothing"}')
    wrong = faults(report.findings)
    notes = [finding for finding in report.findings if finding not in wrong]
    _list('notes', notes)
    if report.ready(strict=strict):
        print(f'\nready: {report.benchmark} in {report.root}' + (f', with {_many(len(notes), "note")}' if notes else ''))
        return 0
    _list('not ready', wrong or notes)
    count = len(report.findings) if strict else len(wrong)
    print(f'\nnot ready: {report.benchmark} in {report.root}: {count} to mend'
          + (' (--strict: notes too)' if strict and notes else ''))
    return 1


def _file_table(report: Report, lines: Sequence[Line]) -> Table:
    table = Table('file', 'state', 'for', 'rows', 'published', 'size', 'from', title=f'{report.benchmark} in {report.root}')
    _fold(table)
    for column in table.columns[3:6]:
        column.justify = 'right'
    for line in lines:
        published = f'{line.published:,}' if line.published else 'not published' if line.count is not None else ''
        table.add_row(_short(line.place, report.root), line.state, _users(line), _number(line.count), published,
                      size_text(line.size), '' if line.state in _THERE else line.source)
    return table


def _fold(table: Table) -> None:
    """Paths and sources whole, however narrow the terminal."""
    table.columns[0].overflow = table.columns[-1].overflow = 'fold'


_THERE = ('present', 'fewer rows', 'more rows')


def _folder_table(report: Report, lines: Sequence[Line]) -> Table:
    table = Table('image folder', 'state', 'for', 'pictures there', 'named by rows', 'from')
    _fold(table)
    for column in table.columns[3:5]:
        column.justify = 'right'
    for line in lines:
        table.add_row(_short(line.place, report.root), line.state, _users(line), _number(line.count), _number(line.wanted),
                      '' if line.state == 'present' else line.source)
    return table


def _overlap_table(report: Report) -> Table:
    table = Table('test set', 'pictures in training', 'questions in training', 'both in one row')
    for column in table.columns[1:]:
        column.justify = 'right'
    for each in report.overlaps:
        table.add_row(each.task, f'{each.images:,} of {each.test_images:,}', f'{each.questions:,} of {each.test_rows:,}',
                      f'{each.rows:,} of {each.test_rows:,}')
    return table


def _list(title: str, findings: Sequence[Finding]) -> None:
    if findings:
        print(f'\n{title}:')
        for finding in findings:
            print(f'  - {finding}')


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


def size_text(size: float | None) -> str:
    """Bytes for people."""
    if size is None:
        return ''
    for step in _STEPS:
        if size < 1000 or step == _STEPS[-1]:
            break
        size /= 1000
    return f'{size:.0f} {step}' if step == 'B' else f'{size:.1f} {step}'
