"""The plan of `--dry-run` is what is run: each phase's rows and steps, also where methods mix rows into a task's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coinkit.engine import runner
from coinkit.engine.plan import build_on_meta, plan_phases
from coinkit.testing.small_runs import config, events, write_config

TASKS = ('TextVQA', 'GQA', 'VizWiz')
SIZES = {'TextVQA': 12, 'GQA': 5, 'VizWiz': 9}
LORA = dict(rank=2, alpha=4.0)
REPLAYS = {
    'concat': dict(num_samples=4), 'repeated': dict(num_samples=4, replay_repeat=3),
    'by task': dict(num_samples={'TextVQA': 7, 'GQA': 0}), 'cumulative': dict(replay_mode='cumulative', replay_repeat=2),
    'reservoir': dict(num_samples=15, selection='reservoir'),
    'ratio': dict(replay_mode='ratio', ratio=0.4, num_samples=3),
    'ratio, reservoir': dict(replay_mode='ratio', ratio=0.2, num_samples=3, selection='reservoir'),
    'general': dict(replay_mode='general', num_samples=3, general=dict(type='Mini', kind='grounding', size=6)),
    'published files': dict(replay_select='upstream_file',
                            replay_files={'GQA': dict(type='Mini', kind='textvqa', size=4),
                                          'VizWiz': dict(type='Mini', kind='vizwiz', size=10)})}
METHODS = {name: [dict(type='FineTune', **LORA), dict(type='Replay', **given)] for name, given in REPLAYS.items()} | {
    'Replay beside OLoRA': [dict(type='Replay', num_samples=4), dict(type='OLoRA', **LORA)],
    'Replay beside MRLoRA': [dict(type='Replay', num_samples=4),
                             dict(type='MRLoRA', router_samples=2, router_epochs=3, router_batch_size=2, **LORA)],
    'Joint, matched': [dict(type='Joint', **LORA)],
    'Joint, passes': [dict(type='Joint', joint_steps='pass', joint_epochs=1.5, **LORA)],
    'Joint, uniform': [dict(type='Joint', joint_mix='uniform', **LORA)],
    'none': [dict(type='FineTune', **LORA)]}


def run_config(folder: Path, methods: list[dict[str, Any]], *more: str) -> Any:
    """Epochs instead of steps; training sets so small that every phase is a few steps."""
    where = write_config(folder / 'config.py', methods)
    names = [task.name for task in config(str(where)).benchmark.tasks]
    sizes = [f'benchmark.tasks.{names.index(name)}.train.size={size}' for name, size in SIZES.items()]
    return config(str(where), 'schedule.steps=None', 'schedule.epochs=1.5', 'schedule.global_batch_size=5',
                  'schedule.micro_batch_size=5', 'evaluation.limit=1', 'evaluation.zero_shot=False',
                  'evaluation.policy=last', *sizes, *more, tasks=TASKS)


def planned(config: Any, folder: Path) -> list[tuple[str, str, int, int]]:
    return [(one.stage, one.phase, one.num_samples, one.num_steps) for one in plan_phases(build_on_meta(config, folder))]


@pytest.mark.parametrize('name', METHODS)
def test_hook_plan_mix_makes_the_plan_what_is_run(name, mini_engine, tmp_path, monkeypatch) -> None:
    """The run's own trainers are built and their steps counted; only the steps themselves are left out."""
    seen, build = [], runner.PhaseTrainer

    def note(state, mix, *arguments, **more):
        trainer = build(state, mix, *arguments, **more)
        seen.append((state.stage_name, state.phase.name, len(mix), trainer.num_steps))
        return trainer

    monkeypatch.setattr(runner, 'PhaseTrainer', note)
    monkeypatch.setattr(build, 'run', lambda trainer: None)
    wanted = run_config(tmp_path, METHODS[name])
    mini_engine.train(wanted, tmp_path / 'run')
    assert seen and planned(wanted, tmp_path / 'other') == seen


def test_old_rows_make_later_tasks_longer(mini_engine, tmp_path) -> None:
    """A whole run, by its ledger: one epoch over one, two and three training sets."""
    methods = [dict(type='FineTune', **LORA), dict(type='Replay', replay_mode='cumulative')]
    wanted = run_config(tmp_path, methods, 'schedule.epochs=1', 'schedule.global_batch_size=10')
    plan = planned(wanted, tmp_path / 'run')
    assert [rows for _, _, rows, _ in plan] == [12, 17, 26] and [steps for *_, steps in plan] == [2, 2, 3]
    mini_engine.train(wanted, tmp_path / 'run')
    done = [(each['stage'], each['step']) for each in events(tmp_path / 'run', 'phase_done')]
    assert done == [(stage, steps) for stage, *_, steps in plan]
