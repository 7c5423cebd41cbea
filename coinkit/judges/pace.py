"""How fast an endpoint may be asked: requests and tokens per minute, a pause that it demands, growing waits after failures.

Requests leave evenly spaced, so neither limit is ever exceeded in a burst: a request takes its share of the minute from
one common line, by the limit that it uses more of. Estimated tokens are put right when the real number is known.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

FIRST_WAIT_S = 1.0


class Stopped(Exception):
    """Asking has been stopped while a request waited for its turn."""


class Pace:
    """The common line of all requests of one judge; `stop` ends every wait at once."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None, *,
                 stop: threading.Event | None = None, clock: Callable[[], float] = time.monotonic):
        self.per_request = 60.0 / requests_per_minute if requests_per_minute else 0.0  # seconds
        self.per_token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self.stop, self.clock = stop or threading.Event(), clock
        self._lock = threading.Lock()
        self._free_at = 0.0  # when the line is free again
        self._paused_until = 0.0

    def seconds(self, requests: int, tokens: int) -> float:
        """How long the limits make so many requests take."""
        return max(requests * self.per_request, tokens * self.per_token)

    def take(self, tokens: int) -> None:
        """Wait for a turn; raises Stopped."""
        while True:
            with self._lock:
                start = max(self.clock(), self._free_at, self._paused_until)
                self._free_at = start + self.seconds(1, tokens)
            self.sleep_until(start)
            if self.stop.is_set():
                raise Stopped
            if self._paused_until <= self.clock():
                return  # else a pause was demanded meanwhile: queue again, so that nobody leaves in a crowd after it

    def settle(self, tokens: int, used: int) -> None:
        """A request that took `tokens` has used another number."""
        with self._lock:
            self._free_at += self.seconds(1, used) - self.seconds(1, tokens)

    def pause(self, seconds: float) -> None:
        """Nobody asks for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, self.clock() + seconds)

    def sleep_until(self, moment: float) -> None:
        while (left := moment - self.clock()) > 0:
            if self.stop.wait(left):
                raise Stopped


def backoff_s(attempt: int, longest_s: float) -> float:
    """The wait after failure number `attempt` (0, 1, ...): doubling, with jitter so that requests do not march in step."""
    return min(longest_s, FIRST_WAIT_S * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)
