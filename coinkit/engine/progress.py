"""What a person sees while a run is going: a bar with rate and ETA on a terminal, a line every half minute in a log file.

Only the main process speaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as ProgressTask
from rich.text import Text

LINE_EVERY_S = 30.0


class RateColumn(ProgressColumn):
    """Units per second over the bar's recent past."""

    def render(self, task: ProgressTask) -> Text:
        return Text(f'{task.finished_speed or task.speed or 0.0:,.1f} {task.fields["unit"]}/s')


class Bar:
    """One long step. `advance(n, loss='0.31')` moves it and shows named values."""

    def __init__(self, reporter: Reporter, label: str, total: int, unit: str, done: int):
        self.reporter, self.label, self.total, self.unit = reporter, label, total, unit
        self.done, self.first, self.start, self.spoken = done, done, time.monotonic(), time.monotonic()
        self.notes: dict[str, str] = {}
        self.task = None
        if reporter.progress is not None:
            self.task = reporter.progress.add_task(label, total=total, completed=done, unit=unit, notes='')

    def advance(self, count: int = 1, **notes: Any) -> None:
        self.done += count
        self.notes.update({key: str(value) for key, value in notes.items()})
        if self.task is not None:
            self.reporter.progress.update(self.task, advance=count, notes=self._notes())
        elif time.monotonic() - self.spoken >= LINE_EVERY_S:
            self.spoken = time.monotonic()
            self.reporter.say(self._line())

    def close(self) -> None:
        if self.task is not None:
            self.reporter.progress.remove_task(self.task)
        self.reporter.say(self._line())

    def _notes(self) -> str:
        return '  '.join(f'{key} {value}' for key, value in self.notes.items())

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self.start, 1e-9)
        rate = (self.done - self.first) / elapsed
        left = f', {(self.total - self.done) / rate:.0f} s left' if rate and self.done < self.total else ''
        return f'{self.label}: {self.done}/{self.total}  {rate:,.1f} {self.unit}/s, {elapsed:.0f} s{left}  {self._notes()}'


class Reporter:
    """Console and bars of one process; a reporter that is not `active` stays silent."""

    def __init__(self, *, active: bool = True, console: Console | None = None):
        self.active = active
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.progress: Progress | None = None

    def say(self, text: str = '') -> None:
        if self.active:
            (self.progress.console if self.progress else self.console).print(text, markup=False)

    @contextmanager
    def bar(self, label: str, total: int, *, unit: str = 'it', done: int = 0) -> Iterator[Bar]:
        """A bar while the body runs; nested bars stand below each other."""
        opened = self.active and self.console.is_terminal and self.progress is None
        if opened:
            self.progress = Progress(
                TextColumn('{task.description}'), BarColumn(bar_width=None), MofNCompleteColumn(), RateColumn(),
                TimeElapsedColumn(), TextColumn('eta'), TimeRemainingColumn(), TextColumn('{task.fields[notes]}'),
                console=self.console, transient=True)
            self.progress.start()
        bar = Bar(self, label, total, unit, done)
        try:
            yield bar
        finally:
            bar.close()
            if opened:
                self.progress.stop()
                self.progress = None
