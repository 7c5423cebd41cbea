"""The pace: never faster than either limit, a demanded pause holds for everybody, waits end at once when asking stops."""

from __future__ import annotations

import threading

import pytest

from coinkit.judges.pace import Pace, Stopped, backoff_s


class Clock:
    """Time that passes only by sleeping; stands for the stop event as well."""

    def __init__(self):
        self.now, self.stopped = 100.0, False

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.stopped

    def is_set(self) -> bool:
        return self.stopped


def moments(requests: list[int], **limits: float) -> list[float]:
    clock = Clock()
    pace = Pace(**limits, stop=clock, clock=clock)
    found = []
    for tokens in requests:
        pace.take(tokens)
        found.append(clock.now - 100.0)
    return found


def test_no_limit_no_wait():
    assert moments([10**6] * 5) == [0.0] * 5


def test_requests_leave_evenly():
    assert moments([1] * 4, requests_per_minute=30) == [0, 2, 4, 6]


def test_tokens_limit_too_and_the_stricter_one_counts():
    assert moments([100, 100, 50], tokens_per_minute=600) == [0, 10, 20]
    assert moments([100, 100, 1], requests_per_minute=30, tokens_per_minute=600) == [0, 10, 20]
    assert moments([1, 1, 1], requests_per_minute=30, tokens_per_minute=600) == [0, 2, 4]
    assert moments([6000, 1], tokens_per_minute=600) == [0, 600]  # larger than a minute's worth: not refused, only slow


def test_a_wrong_estimate_is_put_right():
    clock = Clock()
    pace = Pace(tokens_per_minute=600, stop=clock, clock=clock)
    pace.take(100)
    pace.settle(100, 40)
    pace.take(10)
    assert clock.now == 104.0


def test_a_pause_holds_and_the_pace_goes_on_after_it():
    clock = Clock()
    pace = Pace(requests_per_minute=60, stop=clock, clock=clock)
    pace.take(1)
    pace.pause(30)
    pace.pause(5)  # does not shorten it
    found = []
    for _ in range(3):
        pace.take(1)
        found.append(clock.now)
    assert found == [130.0, 131.0, 132.0]


def test_a_pause_demanded_while_waiting_queues_again():
    clock = Clock()
    pace = Pace(requests_per_minute=60, stop=clock, clock=clock)
    pace.take(1)
    plain_wait = clock.wait

    def wait(seconds: float) -> bool:
        if clock.now < 101:
            pace.pause(30)
        return plain_wait(seconds)

    clock.wait = wait
    pace.take(1)
    assert clock.now == 130.0


def test_stopping_ends_the_wait():
    stop = threading.Event()
    pace = Pace(requests_per_minute=1, stop=stop)
    pace.take(1)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        pace.take(1)


def test_waits_double_up_to_the_longest_and_are_not_alike():
    for attempt, most in enumerate([1, 2, 4, 8, 10, 10]):
        waits = {backoff_s(attempt, 10.0) for _ in range(20)}
        assert len(waits) > 1 and all(most / 2 <= wait <= most for wait in waits)
    assert backoff_s(10**6, 60.0) <= 60
