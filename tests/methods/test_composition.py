"""Methods of one run: those that add to others compose in any number, of those that claim the adapters there is one."""

from __future__ import annotations

import pytest

from coinkit.engine import preflight
from coinkit.engine.builder import build_methods
from coinkit.errors import ConfigError
from coinkit.registry import METHODS
from coinkit.testing.small_runs import config, write_config

OLORA, MOELORA, REPLAY, LWF, MAS = (dict(type=name) for name in ('OLoRA', 'MoELoRA', 'Replay', 'LwF', 'MAS'))
CIA, GROUPS, SINGLE, JOINT = (dict(type=name) for name in ('CIA', 'InstructionGroups', 'SingleTask', 'Joint'))
MR_LORA, AVERAGE = dict(type='MRLoRA'), dict(type='DynamicEMA', ema_when='always')


@pytest.mark.parametrize(('methods', 'text'), [
    ([OLORA, MOELORA], 'OLoRA and MoELoRA both claim the adapters'),
    ([REPLAY, OLORA, LWF, dict(type='FineTune')], 'OLoRA and FineTune both claim the adapters'),
    ([OLORA, MOELORA, SINGLE], 'OLoRA and MoELoRA and SingleTask all claim the adapters'),
    ([MR_LORA, GROUPS], 'MRLoRA and InstructionGroups both choose the stage that answers'),
    ([GROUPS, REPLAY, SINGLE], 'InstructionGroups and SingleTask both choose the stage that answers'),
    ([CIA, AVERAGE], 'CIA and DynamicEMA both average what trains'),
    ([AVERAGE, AVERAGE], 'DynamicEMA and DynamicEMA both average what trains')])
def test_two_that_claim_the_same_are_refused_by_name_before_anything_is_built(tmp_path, methods, text) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', methods)))
    for check in (preflight.check, build_methods):
        with pytest.raises(ConfigError, match=text):
            check(cut_down)


@pytest.mark.parametrize(('methods', 'expected'), [
    ([REPLAY, OLORA], ['Replay', 'OLoRA']), ([REPLAY, MOELORA, LWF], ['Replay', 'MoELoRA', 'LwF']),
    ([REPLAY, LWF, MAS], ['FineTune', 'Replay', 'LwF', 'MAS']), ([CIA, REPLAY, MAS], ['CIA', 'Replay', 'MAS']),
    ([GROUPS, AVERAGE, LWF], ['FineTune', 'InstructionGroups', 'DynamicEMA', 'LwF']),
    ([MR_LORA, REPLAY], ['MRLoRA', 'Replay']), ([AVERAGE, OLORA], ['DynamicEMA', 'OLoRA'])])
def test_methods_that_add_go_with_one_that_claims_or_with_fine_tune(tmp_path, methods, expected) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', methods)))
    preflight.check(cut_down)
    assert [name for name, _ in build_methods(cut_down)] == expected


def test_two_that_plan_the_phases_are_refused(tmp_path) -> None:
    """Of a third party, without adapters of its own."""
    class Planner:
        def coinkit_phases(self, state): ...

    METHODS.add('Planner', Planner, provider='test')
    try:
        cut_down = config(str(write_config(tmp_path / 'run.py', [SINGLE, dict(type='Planner')])))
        with pytest.raises(ConfigError, match='SingleTask and Planner both say in which phases a task is trained'):
            preflight.check(cut_down)
    finally:
        METHODS.drop('test')


@pytest.mark.parametrize('other', [JOINT, dict(type='ZeroShot')])
@pytest.mark.parametrize('method', [REPLAY])
def test_what_works_from_task_to_task_needs_tasks(tmp_path, method, other) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', [other, method])))
    with pytest.raises(ConfigError, match=f'{method["type"]} works from task to task, and {other["type"]} trains no'):
        preflight.check(cut_down)
