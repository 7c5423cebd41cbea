"""Many requests at a time: threads that take the next item, work on it and hand in what came of it.

The first exception that is not an item's own failure stops all of them. Ctrl-C lets the open requests end, so that answers
which were paid for are kept; a second Ctrl-C leaves at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from coinkit.judges.pace import Stopped

Item = TypeVar('Item')


class Workers:
    """Runs `work(item)` for every item on `count` threads; `stop` is shared with whatever `work` waits for."""

    def __init__(self, count: int, stop: threading.Event):
        self.count, self.stop = count, stop

    def run(self, items: Iterable[Item], work: Callable[[Item], None]) -> None:
        """Returns when every item is done; raises what a worker raised, or KeyboardInterrupt after the open requests."""
        source, lock = iter(items), threading.Lock()
        ended: queue.Queue[BaseException | None] = queue.Queue()
        threads = [threading.Thread(target=self._work, args=(source, lock, work, ended), daemon=True)
                   for _ in range(self.count)]
        for thread in threads:
            thread.start()
        try:
            errors = [error for error in (ended.get() for _ in threads) if error is not None]
        except KeyboardInterrupt:
            self.stop.set()
            for thread in threads:
                thread.join()
            raise
        if errors:
            raise errors[0]

    def _work(self, source: Iterator[Item], lock: threading.Lock, work: Callable[[Item], None],
              ended: queue.Queue[BaseException | None]) -> None:
        try:
            while not self.stop.is_set():
                with lock:
                    item = next(source, self)
                if item is self:
                    break
                work(item)
            ended.put(None)
        except Stopped:
            ended.put(None)
        except BaseException as error:
            self.stop.set()
            ended.put(error)
