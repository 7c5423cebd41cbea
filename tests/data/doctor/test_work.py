"""Workers: order, errors, and that Ctrl-C ends them without a wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from coinkit.data.doctor.work import default_workers, in_processes, in_threads


def square(number):
    return number * number


def big(number):
    if number == 3:
        raise ValueError('three')
    return 'x' * 5_000_000


def slow(number):
    time.sleep(30)


@pytest.mark.parametrize('spread', [in_threads, in_processes])
def test_results_come_in_the_order_of_the_jobs(spread):
    assert list(spread(square, range(5), 2)) == list(spread(square, range(5), 1)) == [0, 1, 4, 9, 16]
    assert default_workers() >= 1


def test_an_error_in_a_job_is_raised_and_nobody_stays_behind():
    with pytest.raises(ValueError, match='three'):
        list(in_processes(big, range(8), 2))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize('job', [slow, big])
def test_ctrl_c_ends_the_processes_at_once(job):
    def interrupt():
        while not multiprocessing.active_children():
            time.sleep(0.01)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)
    before = time.monotonic()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in in_processes(job, [0] * 400, 2):
            time.sleep(0.02)
    assert time.monotonic() - before < 20 and not multiprocessing.active_children()
