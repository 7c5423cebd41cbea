"""Learning rates and step counts."""

import math

import pytest

from coinkit.config.schema import Schedule
from coinkit.engine.schedule import PhaseSchedule, lr_factor

BASE = Schedule(lr=2e-4, global_batch_size=128, micro_batch_size=8)


def test_warmup_log_is_deepspeeds():
    rates = [2e-4 * lr_factor('warmup_log', step, 1000, 30) for step in (0, 1, 9, 29, 500)]
    assert rates == pytest.approx([0, 4.0759e-5, 1.353985e-4, 2e-4, 2e-4], rel=1e-5)


def test_warmup_log_of_one_step_is_defined():
    assert lr_factor('warmup_log', 0, 10, 1) == 0.0
    assert lr_factor('warmup_log', 1, 10, 1) == 1.0


@pytest.mark.parametrize('kind, end', [('cosine', 0.0), ('linear', 0.0), ('constant', 1.0)])
def test_linear_warmup_then_decay(kind, end):
    factors = [lr_factor(kind, step, 100, 10) for step in range(101)]
    assert factors[:11] == pytest.approx([i / 10 for i in range(11)])
    assert factors[100] == pytest.approx(end, abs=1e-12)
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))


def test_cosine_is_half_way_in_the_middle():
    assert lr_factor('cosine', 55, 100, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_counts():
    schedule = PhaseSchedule.of(BASE, {'epochs': 2})
    assert schedule.num_steps(100) == 2 and schedule.num_samples(100) == 200
    assert PhaseSchedule.of(BASE, {'steps': 7}).num_samples(3) == 7 * 128
    assert schedule.num_warmup(101) == 4  # ceil(0.03 * 101)
    assert PhaseSchedule.of(BASE, {'warmup_steps': 5}).num_warmup(1000) == 5
    assert [schedule.accumulation(world) for world in (1, 2, 16, 32)] == [16, 8, 1, 1]


def test_a_later_epochs_wins_over_an_earlier_steps():
    assert PhaseSchedule.of(BASE, {'steps': 9}, {'epochs': 1}).num_steps(256) == 2
    assert PhaseSchedule.of(BASE, {'epochs': 1}, {'steps': 9}).num_steps(256) == 9
