"""Order, look-ahead, errors and closing of work done ahead."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from coinkit.data.prefetch import prefetch


def slow(number, started=None):
    if started is not None:
        started.append(number)
    time.sleep(0.002 * (number % 3))
    return number


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_results_come_in_order(workers):
    assert list(prefetch((partial(slow, number) for number in range(30)), workers, 6)) == list(range(30))


def test_no_jobs():
    assert list(prefetch([], 2, 4)) == list(prefetch([], 0, 1)) == []


@pytest.mark.parametrize('workers, most', [(0, 5), (3, 5 + 4)])
def test_look_ahead_is_bounded(workers, most):
    started: list[int] = []
    results = prefetch((partial(slow, number, started) for number in range(100)), workers, 4)
    taken = [next(results) for _ in range(5)]
    time.sleep(0.05)
    assert taken == list(range(5)) and len(started) <= most
    results.close()


@pytest.mark.parametrize('workers', [0, 2])
def test_an_error_comes_at_its_place(workers):
    def fail():
        raise ValueError('job 3')

    results = prefetch([partial(slow, 0), partial(slow, 1), partial(slow, 2), fail, partial(slow, 4)], workers, 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match='job 3'):
        next(results)
    assert list(results) == []


def test_closing_waits_for_what_has_begun_and_drops_the_rest():
    started: list[int] = []
    before = threading.active_count()
    results = prefetch((partial(slow, number, started) for number in range(100)), 2, 10)
    next(results)
    results.close()
    count = len(started)
    assert threading.active_count() == before
    time.sleep(0.02)
    assert len(started) == count < 100


def test_threads_work_at_the_same_time():
    gate = threading.Barrier(3, timeout=5)
    assert sorted(prefetch([gate.wait] * 3, 3, 3)) == [0, 1, 2]


@pytest.mark.parametrize('workers, depth', [(-1, 4), (2, 0)])
def test_wrong_arguments(workers, depth):
    with pytest.raises(ValueError, match=f'workers={workers}, depth={depth}'):
        prefetch([], workers, depth)
