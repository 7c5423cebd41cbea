"""Methods of one run: those that add to others compose in any number, of those that claim the adapters there is one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from coinkit.engine import preflight
from coinkit.engine.builder import build_methods, claim_problems
from coinkit.errors import ConfigError, RunError
from coinkit.plugins import RunHooks, load_plugins
from coinkit.registry import BACKBONES, METHODS
from coinkit.testing.small_runs import adapter, config, write_config

OLORA, MOELORA, REPLAY, LWF, MAS = (dict(type=name) for name in ('OLoRA', 'MoELoRA', 'Replay', 'LwF', 'MAS'))
CIA, GROUPS, SINGLE, JOINT = (dict(type=name) for name in ('CIA', 'InstructionGroups', 'SingleTask', 'Joint'))
EWC, MR_LORA, AVERAGE = dict(type='EWC'), dict(type='MRLoRA'), dict(type='DynamicEMA', ema_when='always')
ROOT = Path(__file__).parents[2]

# Every method is in this table. Those in CLAIM say what trains: any two of them are refused. Those in ADD go with each other
# and with what claims, but for the pairs named; a pair of one name is refused but for Replay's.
CLAIM = {'ZeroShot', 'FineTune', 'Joint', 'SingleTask', 'MoELoRA', 'CIA', 'MRLoRA', 'OLoRA'}
ADD = {'DynamicEMA', 'InstructionGroups', 'Replay', 'LwF', 'MAS', 'EWC'}
NOT_BESIDE = {
    'ZeroShot': ADD,  # nothing is trained
    'Joint': ADD - {'DynamicEMA'},  # there is one stage
    'SingleTask': {'InstructionGroups', 'LwF', 'MAS', 'EWC'},  # no expert knows another; which answers is known
    'CIA': {'InstructionGroups', 'DynamicEMA'},  # it is both
    'MRLoRA': {'InstructionGroups', 'DynamicEMA', 'LwF', 'MAS', 'EWC'},  # isolated experts, phases that differ, a router
    'OLoRA': {'MAS', 'EWC'}}  # a new block for every task
ARGUMENTS = {'DynamicEMA': dict(ema_when='always')}


@pytest.fixture(autouse=True)
def _ewc_where_it_lies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / 'plugins' / 'coinkit-ewc')
    load_plugins(['coinkit_ewc'])
    yield
    load_plugins()


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
    ([OLORA, LWF], ['OLoRA', 'LwF']), ([LWF, OLORA], ['LwF', 'OLoRA']),
    ([MOELORA, EWC, AVERAGE], ['MoELoRA', 'EWC', 'DynamicEMA']),
    ([MR_LORA, dict(type='DynamicEMA', ema_when='never')], ['MRLoRA', 'DynamicEMA']),
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
@pytest.mark.parametrize('method', [REPLAY, LWF, MAS, EWC, GROUPS])
def test_what_works_from_task_to_task_needs_tasks(tmp_path, method, other) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', [other, method])))
    with pytest.raises(ConfigError, match=f'{method["type"]} works from task to task, and {other["type"]} trains no'):
        preflight.check(cut_down)


def fits(one: str, two: str) -> bool:
    if one == two:
        return one == 'Replay'
    return not {one, two} <= CLAIM and two not in NOT_BESIDE.get(one, ()) and one not in NOT_BESIDE.get(two, ())


def test_every_pair_of_methods_is_refused_by_name_or_works_in_any_order(tmp_path) -> None:
    """Before anything is built."""
    assert set(METHODS.names()) == CLAIM | ADD, 'a new method: say beside which others it makes sense'
    base = config(str(write_config(tmp_path / 'run.py', [dict(type='FineTune')])))
    for one in METHODS.names():
        for two in METHODS.names():
            both = tuple(dict(type=name, **ARGUMENTS.get(name, {})) for name in (one, two))
            run = replace(base, methods=both)
            found = ' '.join(map(str, claim_problems(run) or preflight.method_problems(run)))
            assert bool(found) != fits(one, two), f'{one}, {two}: {found or "not refused"}'
            assert not found or one in found and two in found and re.search('[Ll]eave out|Keep one|once, with', found), found


@pytest.mark.parametrize('method', [CIA | dict(expand_init='random'), GROUPS | dict(expand_init='random')])
@pytest.mark.parametrize('holding', [MAS, EWC, LWF])
def test_groups_that_start_from_theta_0_again_are_no_old_values_to_hold(tmp_path, method, holding) -> None:
    with pytest.raises(ConfigError, match=f'{holding["type"]} holds .*{method["type"]} .*Leave out'):
        preflight.check(config(str(write_config(tmp_path / 'run.py', [method, holding]))))


@pytest.mark.parametrize(('methods', 'text'), [
    ([OLORA, MAS], 'MAS holds blocks near their old values, and OLoRA trains other blocks from task to task'),
    ([MAS, MR_LORA], 'MAS holds blocks near their old values, and MRLoRA trains other blocks from phase to phase'),
    ([OLORA, EWC], 'EWC holds blocks near their old values, and OLoRA does not train the same blocks'),
    ([EWC, MR_LORA], 'EWC holds blocks near their old values, and MRLoRA does not train the same blocks'),
    ([LWF, MR_LORA], r'MRLoRA trains other blocks from phase to phase. Leave out LwF or MRLoRA'),
    ([MR_LORA, LWF], r'MRLoRA trains other blocks from phase to phase. Leave out LwF or MRLoRA'),
    ([MR_LORA, AVERAGE], r"DynamicEMA averages tasks of one phase, and MRLoRA trains .* Set ema_when='never'")])
def test_blocks_that_change_are_refused_beside_what_needs_the_same_before_the_first_step(tmp_path, methods, text) -> None:
    with pytest.raises(ConfigError, match=text):
        preflight.check(config(str(write_config(tmp_path / 'run.py', methods))))


TOWER = ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2']  # of the picture encoder; the first three of both
SMALL_LORA = dict(rank=4, alpha=8, targets=TOWER)
QUICK = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=1', 'schedule.warmup_steps=0')


@pytest.mark.parametrize('methods', [
    [dict(type='OLoRA', **SMALL_LORA, olora_lambda2=0.1)],
    [dict(type='FineTune', **SMALL_LORA), dict(type='MAS', num_samples=1)],
    [dict(type='FineTune', **SMALL_LORA), dict(type='EWC', num_samples=1)],
    [dict(type='FineTune', **SMALL_LORA), AVERAGE],
    [dict(type='FineTune', mode='full', train_vision=True), AVERAGE]], ids=lambda methods: methods[-1]['type'])
def test_a_picture_encoder_whose_last_layer_is_not_read(mini_engine, tmp_path, monkeypatch, methods) -> None:
    """As LLaVA-1.5's: it reads the last but one, so nothing behind it ever gets a gradient."""
    build = BACKBONES.build

    def reading_the_last_but_one(arguments, **more):
        backbone = build(arguments, **more)
        backbone.model.config.vision_feature_layer = -2
        return backbone

    load_plugins(['coinkit_ewc'])
    monkeypatch.setattr(BACKBONES, 'build', reading_the_last_but_one)
    file = write_config(tmp_path / 'run.py', methods, plugins=['coinkit_ewc'])
    mini_engine.train(config(str(file), *QUICK), tmp_path / 'run')
    names = [name for name in adapter(tmp_path / 'run', '02-gqa') if 'vision_tower' in name]
    assert any('layers.3.' in name for name in names) and not any('layers.4.' in name for name in names)


@pytest.mark.parametrize(('method', 'blocks'), [
    (dict(type='OLoRA', rank=4, alpha=8), ('task-1', 'task-2')),
    (dict(type='MRLoRA', rank=4, alpha=8, router_samples=2, router_steps=1, router_batch_size=2), ('expert', 'routing'))])
@pytest.mark.parametrize('holding', ['MAS', 'EWC'])
def test_blocks_that_change_unannounced_stop_the_run(mini_engine, tmp_path, monkeypatch, holding, method, blocks) -> None:
    """As a third party's method might that does not say `blocks_change`."""
    load_plugins(['coinkit_ewc'])
    monkeypatch.setattr(METHODS.get(method['type']), 'blocks_change', 'never')
    file = write_config(tmp_path / 'run.py', [method, dict(type=holding, num_samples=1)], plugins=['coinkit_ewc'])
    text = rf"{holding}: the blocks \['{blocks[0]}'\] trained before and \['{blocks[1]}'\] train now"
    with pytest.raises(RunError, match=text):
        mini_engine.train(config(str(file), *QUICK), tmp_path / 'run')


@pytest.mark.parametrize('groups', ['InstructionGroups', 'CIA'])
@pytest.mark.parametrize('other', ['OLoRA', 'LwF', 'FineTune'])
def test_groups_choose_the_start_before_others_build_on_it(groups, other) -> None:
    """A new block, a teacher or a forgotten projector would otherwise be overwritten, or be of the wrong adapter."""
    both = [(name, METHODS.get(name)()) for name in (other, groups)]
    for listed in (both, both[::-1]):
        assert RunHooks(listed).implementers('coinkit_begin_task') == [groups, other]
