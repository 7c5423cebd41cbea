"""How two forms of one thing are compared in speed: side by side in one process, taking turns, the median of many."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

WARM_UP = 3  # turns that are not counted


def take_turns(forms: Mapping[str, Callable[[], Any]], *, rounds: int, device: str) -> dict[str, float]:
    """Median milliseconds of each form: on a CPU those the process itself worked, so that a busy machine disturbs little."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(rounds + WARM_UP):
        for name, form in forms.items():
            seconds = clock(form, device)
            if turn >= WARM_UP:
                times[name].append(seconds)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def clock(form: Callable[[], Any], device: str) -> float:
    """Seconds of one call; on a GPU until its work is done."""
    if device == 'cpu':
        start = time.process_time()
        form()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    form()
    torch.cuda.synchronize()
    return time.perf_counter() - start
