"""Test samples whose pictures cannot be used stay in the denominator, and file, ledger and screen say how many they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from coinkit.errors import BadImage, Interrupted
from coinkit.testing.runs import OpenRun, opened
from coinkit.testing.small_runs import config
from coinkit.types import Sample


@dataclass(frozen=True)
class Broken:
    key: str = 'broken.png'

    @property
    def size(self) -> tuple[int, int]:
        raise BadImage('broken.png cannot be decoded')

    def load(self) -> None:
        raise BadImage('broken.png cannot be decoded')


class Samples:
    """A test set whose first and last picture are broken."""

    fingerprint = 'broken'

    def __init__(self, samples: Sequence[Sample]):
        self.samples = [replace(one, images=(Broken(),)) if i in (0, len(samples) - 1) else one
                        for i, one in enumerate(samples)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def measured(run: OpenRun, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, list[dict]]:
    """The cell of the first task, its second batch interrupted once, and its predictions."""
    said, state, runner = [], run.state, run.runner
    samples = Samples(run.test_samples(0))
    state.datasets.test = lambda _: samples
    monkeypatch.setattr(type(runner.evaluator), 'token_budget', 100)  # a question in each batch
    monkeypatch.setattr(state.reporter, 'say', said.append)
    runner._start()
    calls = []

    def stop_once(_: str) -> None:
        calls.append(1)
        if len(calls) == 3:  # the cell, its first batch, its second batch
            raise Interrupted('stop')

    monkeypatch.setattr(state.interrupt, 'check', stop_once)
    with pytest.raises(Interrupted):
        runner.evaluator.stage(0, [0])
    runner.evaluator.stage(0, [0])
    (path,) = (folder / 'predictions').rglob('*.jsonl')
    record = runner.ledger.last('cell_scored')
    return record | {'said': said[-1]}, [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize(('policy', 'counted'), [('skip', 'skipped'), ('text_only', 'without_picture')])
def test_they_are_kept_and_counted(mini_engine, tmp_path: Path, monkeypatch, policy: str, counted: str) -> None:
    options = ('evaluation.limit=4', f'data.on_bad_image={policy}')
    with opened(config('zero_shot', *options), tmp_path / 'run') as run:
        record, lines = measured(run, tmp_path / 'run', monkeypatch)
    assert [line['context'].get('bad_image') for line in lines] == [policy, None, None, policy]
    assert record['count'] == 4 and record['counts'][counted] == 2
    assert record['said'].endswith(f', 2 {counted.replace("_", " ")}')
    if policy == 'skip':
        assert lines[0]['prediction'] == lines[3]['prediction'] == ''


def test_under_error_the_record_is_named(mini_engine, tmp_path: Path, monkeypatch) -> None:
    with opened(config('zero_shot', 'evaluation.limit=4'), tmp_path / 'run') as run, \
            pytest.raises(BadImage, match="record .* broken.png cannot be decoded"):
        measured(run, tmp_path / 'run', monkeypatch)
