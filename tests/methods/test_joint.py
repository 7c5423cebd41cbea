"""Joint: the union and its shares, how long it is trained, what is refused. Whole runs: tests/engine/test_runner.py."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from coinkit.config.schema import Schedule
from coinkit.data.sampling import BatchSampler
from coinkit.engine.schedule import PhaseSchedule
from coinkit.methods.joint import Joint, exponent, share_out
from coinkit.types import Phase

SIZES = {'A': 400, 'B': 100, 'C': 25}
SCHEDULE = Schedule(lr=1e-3, global_batch_size=8, micro_batch_size=8, epochs=1)


class Rows:
    def __init__(self, name: str, size: int):
        self.name, self.size, self.fingerprint = name, size, name

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.name, index


def phase_of(schedule: Schedule = SCHEDULE, **options: Any) -> Phase:
    """The one phase of a run over three tasks."""
    state = SimpleNamespace(
        stream=list(SIZES), index=2, config=SimpleNamespace(schedule=schedule),
        train_samples=lambda index: Rows(*list(SIZES.items())[index]),
        schedule=lambda index: PhaseSchedule.of(schedule),
        generator=lambda *parts: torch.Generator().manual_seed(parts[-1]))
    (phase,) = Joint(**options).coinkit_phases(state)
    return phase


def steps_of(phase: Phase, schedule: Schedule = SCHEDULE) -> int:
    return PhaseSchedule.of(schedule, phase.schedule).num_steps(len(phase.samples))


def rows_of(phase: Phase) -> list[tuple[str, int]]:
    return [phase.samples[i] for i in range(len(phase.samples))]


def count(rows: list[tuple[str, int]], name: str) -> int:
    return sum(task == name for task, _ in rows)


def test_the_union_has_every_row_once() -> None:
    rows = rows_of(phase_of())
    assert len(rows) == len(set(rows)) == sum(SIZES.values())


def test_the_order_depends_on_the_seed_alone() -> None:
    size = len(phase_of().samples)
    first, same, other = (BatchSampler(size, batch_size=8, num_samples=size, seed=seed) for seed in (1, 1, 2))
    assert [first.batch(n) for n in range(60)] == [same.batch(n) for n in range(60)] != [other.batch(n) for n in range(60)]


@pytest.mark.parametrize('mix', ['proportional', 'uniform', 'temperature:2'])
def test_a_long_prefix_holds_every_task_at_its_share(mix) -> None:
    """Within 3 sigma of a draw with that share, which a shuffle cannot exceed."""
    phase, weights = phase_of(joint_mix=mix), [size ** exponent(mix) for size in SIZES.values()]
    sampler = BatchSampler(len(phase.samples), batch_size=200, num_samples=200, seed=5)
    rows = [phase.samples[i] for i in sampler.batch(0)]
    for name, weight in zip(SIZES, weights, strict=True):
        share = weight / sum(weights)
        assert abs(count(rows, name) - 200 * share) < 3 * (200 * share * (1 - share)) ** 0.5, name


def test_match_spends_the_steps_of_the_sequential_run() -> None:
    sequential = sum(-(-size // 8) for size in SIZES.values())
    assert [steps_of(phase_of(joint_mix=mix)) for mix in ('proportional', 'uniform', 'temperature:3')] == [sequential] * 3
    fixed = replace(SCHEDULE, steps=20)
    assert steps_of(phase_of(fixed), fixed) == 60


def test_pass_makes_joint_epochs_passes_whatever_the_schedule_says() -> None:
    for schedule in (SCHEDULE, replace(SCHEDULE, epochs=3), replace(SCHEDULE, steps=7)):
        assert steps_of(phase_of(schedule, joint_steps='pass', joint_epochs=2.0), schedule) == -(-2 * 525 // 8)


def test_uniform_shows_small_tasks_evenly_often() -> None:
    rows = rows_of(phase_of(joint_mix='uniform', joint_steps='pass'))
    assert [count(rows, name) for name in SIZES] == [175, 175, 175]
    assert len({row for row in rows if row[0] == 'A'}) == 175, 'of the large task a part, none twice'
    assert {rows.count(('C', index)) for index in range(25)} == {7}
    assert {rows.count(('B', index)) for index in range(100)} == {1, 2}


def test_shares_are_whole_and_add_up() -> None:
    assert share_out(10, [1, 1, 1]) == [4, 3, 3]
    assert share_out(7, [5.0, 0.5, 0.5]) == [6, 1, 0] and sum(share_out(1001, [0.3, 17.0, 2.2])) == 1001


def test_temperatures() -> None:
    assert (exponent('proportional'), exponent('uniform'), exponent('temperature:4')) == (1.0, 0.0, 0.25)
    assert [exponent(word) for word in ('temperature:', 'temperature:0', 'temperature:x', 'sqrt')] == [None] * 4


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(joint_mix='temperature'), "'proportional', 'uniform' or 'temperature:x'"),
    (dict(joint_steps='same'), "'match' or 'pass' allowed"),
    (dict(joint_epochs=2.0), "2.0 given with joint_steps='match'"),
    (dict(joint_steps='pass', joint_epochs=0.0), '0.0 given'), (dict(rank=0), 'at least 1')])
def test_bad_arguments(arguments, text) -> None:
    assert text in str(Joint.preflight(**arguments)[0])
