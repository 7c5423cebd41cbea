"""What a run cost: numbers trained, numbers stored to answer after the last stage, seconds of training.

Read from the run directory alone: the ledger's times and the headers of the adapter files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from coinkit.report.events import read_events
from coinkit.report.routing import Routing

TRAINED, STORED, SECONDS = 'trained', 'stored', 'seconds'


def read_cost(folder: Path, routing: Routing | None) -> dict[str, float | None] | None:
    """Each cost by name, None where the files do not tell; None as a whole without a finished stage.

    `trained` is the most that any phase trains, `stored` counts the adapters of the stages that answer after the last
    one and the method's own tensors, `seconds` what training took, data passes included: from one line of the ledger to
    the next inside a stage, without the time in which no process ran and without the measuring of answers.
    """
    events = read_events(folder / 'ledger.jsonl')
    stages = [event['stage'] for event in events if event['event'] == 'stage_done']
    if not stages or set(stages) == {'00-zero-shot'}:
        return None
    trained = [event['trained'] for event in events if event['event'] == 'phase_done' and 'trained' in event]
    return {TRAINED: max(trained, default=None), STORED: _stored(folder, stages[-1], routing), SECONDS: _seconds(events)}


def _seconds(events: Sequence[Mapping[str, Any]]) -> float:
    total, last = 0.0, None
    for event in events:
        if event['event'] in ('step_saved', 'phase_done', 'stage_done') and last is not None:
            total += event['time'] - last
        inside = event['event'] in ('stage_started', 'step_saved', 'phase_done')
        last = event['time'] if inside else None
    return total


def _stored(folder: Path, last: str, routing: Routing | None) -> float:
    answering = {last}
    if routing is not None and routing.stages and routing.stages[-1].name == last:
        answering = {name for counts in routing.stages[-1].counts.values() for name in counts}
    stages = folder / 'stages'
    files = [stages / name / 'adapter' / 'adapter.safetensors' for name in sorted(answering)]
    own = (stages / last / 'methods').glob('*.safetensors')
    return float(sum(numbers_in(file) for file in [*files, *own] if file.exists()))


def numbers_in(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    with open(file, 'rb') as stream:
        size = struct.unpack('<Q', stream.read(8))[0]
        header = json.loads(stream.read(size))
    return sum(prod(entry['shape']) for name, entry in header.items() if name != '__metadata__')
