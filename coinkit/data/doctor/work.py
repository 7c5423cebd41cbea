"""Many small jobs on several workers: Python's own work in processes, disk and decoding in threads.

Results come in the order of the jobs. Ctrl-C drops what has not begun and ends what is under way in a process; a job of a
thread is short.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

MOST_WORKERS = 8  # by default: disks are seldom faster with more


class Bar(Protocol):
    """Where progress is told."""

    def advance(self, count: int = 1, **notes: Any) -> None: ...


NewBar = Callable[[str, int, str], AbstractContextManager[Bar]]  # label, total, unit


def default_workers() -> int:
    """As many as this process may use, within reason."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, allowed))


def in_threads(function: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> Iterator[Any]:
    """For work that waits for the disk or lets other threads run, as decoding does."""
    jobs = list(jobs)
    if workers < 2 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    yield from _results(ThreadPoolExecutor(min(workers, len(jobs))), function, jobs)


def in_processes(function: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> Iterator[Any]:
    """For Python's own work. Processes are started anew, so that no thread of this one is copied half-way."""
    jobs = list(jobs)
    if workers < 2 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context('spawn'), initializer=_ready)
    yield from _results(pool, partial(_interruptible, function), jobs)


def _results(pool: Executor, function: Callable[[Any], Any], jobs: list[Any]) -> Iterator[Any]:
    done = False
    try:
        with _ctrl_c_waits():
            futures = [pool.submit(function, job) for job in jobs]
        while futures:
            yield futures.pop(0).result()
        done = True
    finally:
        if not done:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGINT)  # not SIGTERM: one that dies while it sends would leave this one waiting
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Processes begun inside are deaf to Ctrl-C until they are `_ready`, and this one hears it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Job:
    """Is a job under way in this process, and shall it begin another?"""

    under_way = False
    stopped = False


def _ready() -> None:
    """Ctrl-C ends the job of a process and those that wait in it, and nothing else of it."""
    def stop(*_: Any) -> None:
        _Job.stopped = True
        if _Job.under_way:
            _Job.under_way = False
            raise KeyboardInterrupt
    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _interruptible(function: Callable[[Any], Any], job: Any) -> Any:
    if _Job.stopped:
        raise KeyboardInterrupt
    _Job.under_way = True
    try:
        return function(job)
    finally:
        _Job.under_way = False
