"""log.jsonl and TensorBoard: one record per log point, written by the main process only.

A resumed run first drops the records after the checkpoint it goes on from, so that every step appears once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coinkit import atomic


class RunLog:
    """Appends records; numbers also go to TensorBoard as `task/name` over the step."""

    def __init__(self, path: Path, tensorboard: Path, *, active: bool = True):
        self.path, self.tensorboard, self.active = path, tensorboard, active
        self._writer = None

    @property
    def writer(self):
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run logs

            self._writer = SummaryWriter(str(self.tensorboard), flush_secs=30)
        return self._writer

    def write(self, record: Mapping[str, Any]) -> None:
        if not self.active:
            return
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(record) + '\n')
        for key, value in record.items():
            if isinstance(value, float):
                tag = f'{record["stage"]:02d}-{record["task"]}-{record["phase"]}/{key}'
                self.writer.add_scalar(tag, value, record['step'])

    def score(self, stage: int, task: str, value: float | None) -> None:
        if self.active and value is not None:
            self.writer.add_scalar(f'score/{task}', value, stage)

    def rewind(self, stage: int, phase_index: int, step: int) -> None:
        """Drop the records after `step` of this phase."""
        if not self.active or not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding='utf-8').splitlines(keepends=True):
            if not line.endswith('\n'):
                continue  # torn by a kill
            record = json.loads(line)
            if (record['stage'], record['phase_index'], record['step']) <= (stage, phase_index, step):
                kept.append(line)
        atomic.write_text(self.path, ''.join(kept))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
