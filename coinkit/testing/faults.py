"""Every point of a run at which a kill could hurt, in order: each step, each write, fsync and rename, each ledger line,
each batch of answers, each change of stage.

`Points` counts them as a run passes; at the chosen one it calls `die` (SIGKILL of this very process, another signal, or
an exception). Two runs that do the same pass the same points, so point n of one run is point n of the next. A point can
also be chosen by its name: `checkpoint: before rename: 2` is the second time that a checkpoint is about to be renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from random import Random
from types import SimpleNamespace
from typing import Any

SetAttribute = Callable[[Any, str, Any], None]


class Killed(BaseException):
    """Stands in for SIGKILL inside the test process: nothing but `finally` sees it."""


@dataclass(frozen=True)
class Point:
    """The n-th point: which part of the run it lies in, and what was about to happen or had just happened."""

    number: int
    where: str
    what: str


@dataclass
class Points:
    """Counts points; dies at `at`: a number from 1, or a name."""

    at: int | str = 0
    die: Callable[[], None] = lambda: None
    passed: list[Point] = field(default_factory=list)
    where: list[str] = field(default_factory=lambda: ['start'])

    def reach(self, what: str) -> None:
        point = Point(len(self.passed) + 1, self.where[-1], what)
        self.passed.append(point)
        if self.at in (point.number, self.name(point)):
            self.die()

    def name(self, point: Point) -> str:
        """`where: what: occurrence`, for the newest point."""
        times = sum(one.where == point.where and one.what == point.what for one in self.passed)
        return f'{point.where}: {point.what}: {times}'

    @contextmanager
    def part(self, where: str) -> Iterator[None]:
        self.where.append(where)
        try:
            yield
        finally:
            self.where.pop()

    # --- patches ------------------------------------------------------------------------------------------------

    def around(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.reach(f'before {what}')
            result = function(*args, **kwargs)
            self.reach(f'after {what}')
            return result
        return call

    def within(self, function: Callable[..., Any], where: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(where):
                self.reach(f'enter {function.__name__}')
                result = function(*args, **kwargs)
                self.reach(f'leave {function.__name__}')
                return result
        return call


def install(points: Points, set_attribute: SetAttribute = setattr) -> None:
    """Watch the engine. `set_attribute` is `monkeypatch.setattr` where the patches must be taken back."""
    from coinkit import atomic
    from coinkit.engine import checkpoint, evaluator, generation, launch, ledger, log, runner, trainer

    names = {name: getattr(os, name) for name in dir(os)}
    set_attribute(atomic, 'os', SimpleNamespace(**names | {
        name: points.around(names[name], name) for name in ('fsync', 'replace', 'rename')}))
    set_attribute(atomic, 'shutil', SimpleNamespace(rmtree=points.around(shutil.rmtree, 'rmtree')))
    for owner, name in ((trainer.PhaseTrainer, '_step'), (evaluator.Evaluator, '_copied'),
                        (evaluator.Evaluator, '_score'), (log.RunLog, 'write'), (log.RunLog, 'rewind'),
                        (generation, 'decode_batch'), (ledger.Ledger, 'append')):
        set_attribute(owner, name, points.around(getattr(owner, name), name.lstrip('_')))
    for owner, name, where in (
            (trainer.PhaseTrainer, 'run', 'training'), (evaluator.Evaluator, 'stage', 'evaluation'),
            (checkpoint.Checkpoints, 'save_step', 'checkpoint'), (checkpoint.Checkpoints, 'save_phase', 'checkpoint'),
            (checkpoint.Checkpoints, 'clear', 'stage change'), (runner.Runner, '_finish_stage', 'stage change'),
            (runner.Runner, '_restore', 'stage change'), (runner.Runner, '_clean', 'stage change'),
            (launch, 'write_report', 'report')):
        set_attribute(owner, name, points.within(getattr(owner, name), where))
    _tear(points, set_attribute)


def _tear(points: Points, set_attribute: SetAttribute) -> None:
    """Lines of which a kill leaves one half: of the ledger, of the answers under way."""
    from coinkit.engine import ledger, partial

    class Torn:
        """A file whose write has a point in its middle."""

        def __init__(self, file: Any, what: str):
            self.file, self.what = file, what

        def write(self, data: Any) -> None:
            half = len(data) // 2
            self.file.write(data[:half])
            self.file.flush()
            points.reach(f'half of {self.what}')
            self.file.write(data[half:])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Torn:
            return self

        def __exit__(self, *exc: object) -> None:
            self.file.close()

    def opener(what: str) -> Callable[..., Any]:
        def open_torn(path: Any, mode: str = 'r', **kwargs: Any) -> Any:
            file = open(path, mode, **kwargs)
            return Torn(file, what) if mode == 'ab' else file
        return open_torn

    for module, what in ((ledger, 'a ledger line'), (partial, 'a line of answers')):
        if not hasattr(module, 'open'):
            module.open = open  # the built-in, by a name that can be patched and taken back
        set_attribute(module, 'open', opener(what))


def spread(points: list[Point], count: int, *, seed: int = 0) -> list[Point]:
    """`count` points over all parts of the run and all that happens there, each part in turn."""
    random = Random(seed)
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.where, point.what), []).append(point)
    chosen: list[Point] = []
    queues: dict[str, list[list[Point]]] = {}
    for (where, _), group in groups.items():
        queues.setdefault(where, []).append(list(group))
    for queue in queues.values():
        random.shuffle(queue)
    while len(chosen) < min(count, len(points)):
        for where in list(queues):
            queue = queues[where]
            if queue and len(chosen) < count:
                group = queue.pop(0)
                chosen.append(group.pop(random.randrange(len(group))))
                if group:
                    queue.append(group)
    return sorted(chosen, key=lambda point: point.number)
