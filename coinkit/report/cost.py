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

    `trained` is the most that any phase trains, `stored` counts the adapters of the stages that answer or should after
    the last one and the method's own tensors (blocks that wait in an earlier stage's adapter, such as an older router, take
    no part in its answers: they count from the newest stage alone), `seconds` what training took, data passes included:
    from one line of the ledger to the next inside a stage, without the time in which no process ran and the measuring.
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
        newest = routing.stages[-1]  # what answered, and what would for right: an expert never chosen is stored, too
        answering = {name for names in (*newest.counts.values(), *newest.right.values()) for name in names}
    stages = folder / 'stages'
    adapters = (_numbers(stages / name / 'adapter', answers=name in answering, newest=name == last)
                for name in answering | {last})
    return float(sum(adapters) + sum(map(numbers_in, (stages / last / 'methods').glob('*.safetensors'))))


def _numbers(adapter: Path, *, answers: bool, newest: bool) -> int:
    """Of one stage's adapter: what answers, and in the newest stage what waits beside it."""
    file, card = adapter / 'adapter.safetensors', adapter / 'card.json'
    if not file.exists():
        return 0
    bank = json.loads(card.read_text(encoding='utf-8')).get('bank') if card.exists() else None
    waiting = {block['name'] for block in bank['blocks'] if not block['active']} if bank else set()
    return sum(size for name, size in sizes_in(file).items() if (newest if _block(name) in waiting else answers))


def _block(tensor: str) -> str | None:
    """The bank's block that a tensor belongs to: `bank.<module>.<block>.A`."""
    parts = tensor.split('.')
    return parts[-2] if parts[0] == 'bank' and parts[-1] in ('A', 'B') else None


def numbers_in(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    return sum(sizes_in(file).values())


def sizes_in(file: Path) -> dict[str, int]:
    """The numbers in each tensor of a safetensors file, from its header."""
    with open(file, 'rb') as stream:
        size = struct.unpack('<Q', stream.read(8))[0]
        header = json.loads(stream.read(size))
    return {name: prod(entry['shape']) for name, entry in header.items() if name != '__metadata__'}
