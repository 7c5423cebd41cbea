"""Work done ahead on threads, delivered in order: pictures are decoded while the model computes.

At most `depth` results wait at any time. An error appears where its result would have been; closing the iterator, or an
error at the reader's side, drops the jobs that have not begun and waits for those that have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar('T')


def prefetch(jobs: Iterable[Callable[[], T]], workers: int, depth: int) -> Generator[T, None, None]:
    """Results of `jobs` in their order; `workers` 0 runs each when it is asked for."""
    if workers < 0 or (workers and depth < 1):
        raise ValueError(f'workers={workers}, depth={depth}: needs workers >= 0 and, with workers, depth >= 1')
    return _ahead(iter(jobs), workers, depth) if workers else (job() for job in jobs)


def _ahead(jobs: Iterator[Callable[[], T]], workers: int, depth: int) -> Generator[T, None, None]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix='prefetch')
    try:
        waiting: deque[Future[T]] = deque(pool.submit(job) for job in islice(jobs, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in islice(jobs, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
