"""SingleTask: the recipe of a task trained alone. That experts depend on their task alone: tests/engine/test_runner.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from coinkit.config import load_config, resolve_stream
from coinkit.errors import ConfigError
from coinkit.methods.single_task import SingleTask
from coinkit.testing.small_runs import config, events, write_config
from coinkit.types import Task

TASK = Task('A', {}, {}, {}, schedule={'lr': 1e-3}, expert_schedule={'steps': 2})


@pytest.mark.parametrize(('recipe', 'expected'), [('single', {'steps': 2}), ('sequential', {})])
def test_the_recipe_is_the_task_s_own_or_the_stream_s(recipe, expected) -> None:
    (phase,) = SingleTask(expert_recipe=recipe).coinkit_phases(SimpleNamespace(task=TASK))
    assert dict(phase.schedule) == expected and phase.samples is None


def test_a_benchmark_gives_the_recipe_and_a_run_follows_it(mini_engine, tmp_path) -> None:
    method = dict(type='SingleTask', rank=4, alpha=8, train_projector=False)
    file = write_config(tmp_path / 'run.py', [method])
    alone = 'benchmark.tasks.1.expert_schedule.steps=1'  # TextVQA
    cut_down = config(str(file), alone, 'evaluation.limit=1', 'evaluation.zero_shot=False')
    assert [dict(task.expert_schedule) for task in resolve_stream(cut_down)] == [{'steps': 1}, {}]
    mini_engine.train(cut_down, tmp_path / 'run')
    assert [record['step'] for record in events(tmp_path / 'run', 'phase_done')] == [1, 3]


def test_a_misspelt_key_of_the_recipe_is_told(tmp_path) -> None:
    file = write_config(tmp_path / 'run.py', [dict(type='SingleTask')])
    with pytest.raises(ConfigError, match="benchmark.tasks.1.expert_schedule.epoch: unknown key 'epoch'.*epochs"):
        load_config(str(file), options=['benchmark.tasks.1.expert_schedule.epoch=3'])


def test_it_declares_what_it_needs_and_keeps() -> None:
    assert SingleTask.needs_task_id and SingleTask.storage == 'one adapter per task'
    assert SingleTask().stored_numbers(None) == 0
    assert "'both' given, 'single' or 'sequential'" in str(SingleTask.preflight(expert_recipe='both')[0])
