"""--mini swaps backbone, tasks and schedule and keeps what the experiment is about."""

import pytest

from coinkit.config import dump, load_config, resolve_stream
from coinkit.errors import ConfigError


def test_mini_swaps_backbone_tasks_and_schedule(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\nschedule = dict(lr_schedule='warmup_log')\n"), mini=True)
    assert config.mini
    assert config.backbone == {'type': 'Llava', 'checkpoint': 'mini', 'dtype': 'float32'}
    assert (config.schedule.lr, config.schedule.steps, config.schedule.global_batch_size) == (1e-3, 100, 16)
    assert config.schedule.lr_schedule == 'warmup_log'
    assert [task.name for task in resolve_stream(config)] == ['ScienceQA', 'GQA']
    first = resolve_stream(config)[0]
    assert first.train == {'type': 'Mini', 'kind': 'scienceqa', 'split': 'train', 'size': 500}
    assert first.schedule == {}, 'a 7B batch size or number of epochs must not undo the mini one'


def test_mini_keeps_alpha_over_rank(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\nmethods = [dict(type='FineTune', rank=64, alpha=16)]\n"),
                         mini=True)
    assert (config.methods[0]['rank'], config.methods[0]['alpha']) == (16, 4)


@pytest.mark.parametrize(('own', 'rank', 'alpha'), [
    ('dict(rank=12)', 12, 24), ('dict(rank=12, alpha=5)', 12, 5), ('dict(alpha=5)', 16, 5), ('dict(dropout=0.5)', 16, 32),
    ('dict()', 16, 32)])
def test_a_methods_own_mini_block_wins_over_the_schedules_rank(write, own: str, rank: int, alpha: int) -> None:
    path = write('run.py', f"_base_ = 'base.py'\nmethods = [dict(type='FineTune', rank=128, alpha=256, mini={own})]\n")
    (method,) = load_config(path, mini=True).methods
    assert (method['rank'], method['alpha']) == (rank, alpha)
    (method,) = load_config(path, mini=True, options=['methods.0.rank=8', 'methods.0.alpha=9']).methods
    assert (method['rank'], method['alpha']) == (8, 9)
    without = write('without.py', "_base_ = 'run.py'\nschedule = dict(mini=dict(rank=None))\n")
    (method,) = load_config(without, mini=True).methods
    assert method['rank'] == (rank if 'rank' in own else 128)


def test_only_the_methods_that_need_another_rank_have_it() -> None:
    ranks = {name: load_config(f'ucit/llava_{name}', mini=True).methods[0] for name in ('finetune', 'moelora', 'olora')}
    assert {name: (each['rank'], each['alpha']) for name, each in ranks.items()} == {
        'finetune': (16, 32), 'moelora': (18, 36), 'olora': (16, 32)}


def test_mini_scales_the_rank_a_method_has_by_default(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\nmethods = [dict(type='FineTune')]\n"), mini=True)
    plain = load_config(write('run.py', "_base_ = 'base.py'\nmethods = [dict(type='FineTune')]\n"))
    assert plain.methods[0] == {'type': 'FineTune'}
    assert config.methods[0]['rank'] == 16


def test_mini_keeps_the_number_of_experts(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\nmethods = [dict(type='MoELoRA', num_experts=4, rank=32, alpha=64)]\n")
    assert load_config(path, mini=True).methods[0] == {'type': 'MoELoRA', 'num_experts': 4, 'rank': 16, 'alpha': 32}


def test_parts_without_a_mini_block_are_all_named(write) -> None:
    path = write('run.py', '''_base_ = 'base.py'
backbone = dict(mini=None)
benchmark = dict(tasks=[dict(name='A', train=dict(type='MyData'), test=dict(type='MyData'), metric=dict(type='gqa')),
                        dict(name='B', train=dict(type='MyData'), test=dict(type='MyData'), metric=dict(type='gqa'))],
                 orders=dict(_delete_=True))
plugins = ['my_data.py']
''')
    write('my_data.py', 'class MyData: ...\n\n\ndef coinkit_register(registries):\n'
                        "    registries.DATASETS.add('MyData', f'{__name__}:MyData')\n")
    load_config(path)
    with pytest.raises(ConfigError) as caught:
        load_config(path, mini=True)
    assert "task 'A' has no mini block" in str(caught.value)
    assert "task 'B' has no mini block" in str(caught.value)
    assert "backbone 'Llava' has no mini block" in str(caught.value)


def test_a_dumped_mini_config_stays_mini(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\n"), mini=True)
    assert load_config(write('config.py', dump(config))) == config
    assert load_config(write('config.py', dump(config)), mini=True) == config


def test_a_dumped_mini_config_needs_no_mini_blocks(write) -> None:
    path = write('run.py', """_base_ = 'base.py'
rows = dict(type='InstructionJson', path='rows.json')
benchmark = dict(tasks=[dict(name='A', train=rows, test=rows, metric=dict(type='gqa'), mini=dict(train=dict(limit=4)))],
                 orders=dict(_delete_=True))
del rows
""")
    config = load_config(path, mini=True)
    assert config.benchmark.tasks[0].train['limit'] == 4
    assert load_config(write('config.py', dump(config))) == config


def test_the_command_line_wins_over_mini_blocks(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    options = ['schedule.lr=0.5', 'methods.0.rank=8', 'methods.0.alpha=24']
    config = load_config(path, mini=True, options=options)
    assert config.schedule.lr == 0.5 and config.methods[0]['rank'] == 8 and config.methods[0]['alpha'] == 24


def test_a_method_that_only_adds_gets_a_fine_tune_of_the_mini_rank(tmp_path):
    plugin = tmp_path / 'adds.py'
    plugin.write_text('class Adds:\n    def coinkit_after_step(self, state):\n        pass\n\n\n'
                      "def coinkit_register(registries):\n    registries.METHODS.add('Adds', Adds)\n")
    run = tmp_path / 'run.py'
    run.write_text("_base_ = 'coinkit::coin/llava_finetune.py'\nplugins = ['adds.py']\nmethods = [dict(type='Adds')]\n")
    config = load_config(run, mini=True)
    assert [method['type'] for method in config.methods] == ['FineTune', 'Adds']
    assert (config.methods[0]['rank'], config.methods[0]['alpha']) == (16, 32)
