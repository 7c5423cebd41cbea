"""SIGTERM and Ctrl-C ask a run to stop at the next safe point; a second Ctrl-C stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from coinkit.errors import Interrupted


class Interrupt:
    """Context manager that turns the signals into `requested`; the previous handlers come back at the end."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            self._previous = {number: signal.signal(number, self._handle) for number in self.SIGNALS}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def check(self, what: str) -> None:
        """Leave here when a stop was asked for; `what` says what is saved."""
        if self.requested:
            raise Interrupted(f'Stopped as asked; {what}. Run the same command again to continue.')
