"""CIA in runs: one run trains and measures all groups, it is its three parts, and its configs say what was published."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from coinkit.config import load_config, resolve_stream
from coinkit.engine.launch import write_report
from coinkit.engine.schedule import PhaseSchedule
from coinkit.methods.cia import CIA
from coinkit.plugins import RunHooks
from coinkit.report.routing import read_routing
from coinkit.testing.small_runs import adapter, config, digest, events, logged, matrix, write_config

TASKS = ('ScienceQA', 'TextVQA', 'GQA')  # two groups; GQA joins TextVQA's
LORA = dict(rank=4, alpha=8.0, dropout=0.05)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('cia')


def small(folder: Path, name: str, methods: list, *more: str):
    file = write_config(folder / f'{name}.py', methods)
    return config(str(file), 'evaluation.limit=2', 'evaluation.zero_shot=False', *more, tasks=TASKS)


@pytest.fixture
def run(mini_engine, folder: Path) -> Path:
    """Trained once."""
    if not (folder / 'run').exists():
        mini_engine.train(small(folder, 'run', [dict(type='CIA', **LORA)]), folder / 'run')
    return folder / 'run'


def test_every_task_is_answered_by_its_groups_newest_adapter(run: Path) -> None:
    """All from one run: after stage 3 ScienceQA by its own adapter, TextVQA by the one GQA re-trained."""
    assert None not in matrix(run)['scores'][-1]
    routes = {path.stem: {json.loads(line)['route'] for line in path.read_text().splitlines()}
              for path in (run / 'predictions' / '03-gqa').glob('*.jsonl')}
    assert routes == {'scienceqa': {'01-scienceqa'}, 'textvqa': {'03-gqa'}, 'gqa': {'03-gqa'}}
    assert len({each['adapter_sha256'] for each in events(run, 'stage_done')}) == 4


def test_the_report_knows_which_adapter_is_right(run: Path) -> None:
    """Every route is: ScienceQA's to its own adapter, TextVQA's to the one that its group got last, as the ledger says."""
    said = {(each['stage'], each['task']): each['right'] for each in events(run, 'cell_scored')}
    assert said['02-textvqa', 'TextVQA'] == ['02-textvqa'] and said['03-gqa', 'TextVQA'] == ['03-gqa']
    assert said['03-gqa', 'ScienceQA'] == ['01-scienceqa']
    routing = read_routing(run, TASKS)
    assert [routing.accuracy(stage) for stage in routing.stages] == [100.0] * 3
    assert routing.shares(routing.stages[2]) and not routing.shares(routing.stages[1])


def test_only_the_task_that_joins_is_averaged(run: Path) -> None:
    assert {record['stage'] for record in logged(run) if 'DynamicEMA.alpha' in record} == {3}
    state = json.loads((run / 'stages/03-gqa/methods/methods.json').read_text())['CIA']
    assert state['ema'] == {} and [group['stage'] for group in state['groups']['codebook']['groups']] == [
        '01-scienceqa', '03-gqa']


def test_its_parts_listed_one_by_one_are_the_same_run(mini_engine, run: Path, folder: Path) -> None:
    parts = [dict(type='DynamicEMA'), dict(type='FineTune', **LORA), dict(type='InstructionGroups')]
    mini_engine.train(small(folder, 'parts', parts), folder / 'parts')
    for name, value in digest(run).items():
        if 'methods' not in name:
            assert digest(folder / 'parts')[name] == value, name


def test_a_task_that_opens_a_group_is_fine_tuned(mini_engine, run: Path, folder: Path) -> None:
    """Up to the first task that joins, the adapters are FineTune's to the last bit."""
    mini_engine.train(small(folder, 'plain', [dict(type='FineTune', **LORA)]), folder / 'plain')
    for stage in ('01-scienceqa', '02-textvqa'):
        mine, plain = adapter(run, stage), adapter(folder / 'plain', stage)
        assert mine.keys() == plain.keys() and all(torch.equal(mine[name], plain[name]) for name in mine)
    last = adapter(run, '03-gqa'), adapter(folder / 'plain', '03-gqa')
    assert any(not torch.equal(last[0][name], last[1][name]) for name in last[0])


@pytest.mark.parametrize(('options', 'boundaries', 'name'), [
    (dict(), True, False), (dict(group_granularity='sample'), False, False), (dict(cia_chain='released'), True, True)])
def test_the_report_flags_test_set_boundaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict,
                                              boundaries: bool, name: bool) -> None:
    said = {}
    monkeypatch.setattr('coinkit.report.writer.write_report', lambda path, **more: said.update(more))
    hooks = RunHooks([('CIA', CIA(**options))])
    write_report(SimpleNamespace(state=SimpleNamespace(hooks=hooks), run=SimpleNamespace(path=tmp_path)))
    assert ('CIA routes every test set as a whole: it uses test-set boundaries.' in said['flags']) == boundaries
    assert ('CIA is told the task of every test sample.' in said['flags']) == name


def test_its_preflight_has_the_problems_of_all_parts() -> None:
    found = CIA.preflight(rank=0, style='plain', ema_fixed=2.0, threshold=3.0)
    assert [problem.where for problem in found] == [f'methods: {key}' for key in ('rank', 'style', 'threshold', 'ema_fixed')]
    assert CIA.preflight() == []


def test_the_shipped_config_has_the_published_recipe() -> None:
    loaded = load_config('coin/llava_cia')
    schedules = {task.name: PhaseSchedule.of(loaded.schedule, task.schedule) for task in resolve_stream(loaded)}
    assert {name: each.global_batch_size for name, each in schedules.items()} == {
        'ScienceQA': 128, 'TextVQA': 128, 'ImageNet': 160, 'GQA': 64, 'VizWiz': 128, 'Grounding': 64, 'VQAv2': 80,
        'OCR-VQA': 96}
    assert all(each.accumulation(8) == 1 for each in schedules.values())
    one = schedules['GQA']
    assert (one.lr, one.projector_lr, one.lr_schedule, one.warmup_ratio, one.grad_clip) == (2e-4, 2e-5, 'cosine', 0.03, 0)
    (method,) = loaded.methods
    assert (method['rank'], method['alpha'], method['dropout']) == (128, 256, 0.05)


def test_compat_brings_back_the_released_program() -> None:
    """What a config says itself stays."""
    loaded = load_config('coin/llava_cia', options=["compat='lcia'", "methods.0.ema_dtype='fp32'"])
    released = dict(ema_init='after_first_step', ema_grad='upstream', ema_missing_grad='upstream', test_miss='upstream',
                    group_empty='error')
    assert {key: loaded.methods[0][key] for key in released} == released and loaded.methods[0]['ema_dtype'] == 'fp32'
    assert (loaded.projector_carry, loaded.schedule.projector_lr, loaded.schedule.grad_clip) == ('upstream', 2e-5, 0.0)


def test_the_shipped_configs_swap_to_mini() -> None:
    loaded = load_config('coin/llava_cia', mini=True)
    assert loaded.methods[0]['rank'] == 16 and loaded.methods[0]['alpha'] == 32 and loaded.schedule.steps == 80
    assert load_config('mini/cia').methods[0]['train_projector'] is False
