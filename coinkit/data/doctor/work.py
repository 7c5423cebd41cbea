"""Many small jobs on several workers: Python's own work in processes, disk and decoding in threads.

Results come in the order of the jobs. Ctrl-C drops what has not begun and ends the processes; a job that is under way in
a thread is short.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
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
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context('spawn'),
                               initializer=_leave_ctrl_c_to_the_parent)
    yield from _results(pool, function, jobs)


def _results(pool: Executor, function: Callable[[Any], Any], jobs: list[Any]) -> Iterator[Any]:
    done = False
    try:
        futures = [pool.submit(function, job) for job in jobs]
        while futures:
            yield futures.pop(0).result()
        done = True
    finally:
        if not done:
            _end_processes(pool)
        pool.shutdown(wait=True, cancel_futures=True)


def _end_processes(pool: Executor) -> None:
    for process in list((getattr(pool, '_processes', None) or {}).values()):
        process.terminate()


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
