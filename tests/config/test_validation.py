"""Every kind of wrong value, each with its place, what is allowed and the nearest match; all of them at once."""

import subprocess
import sys

import pytest

from coinkit.config import load_config
from coinkit.errors import ConfigError

CASES = [
    ('schedul = dict(lr=1)', "run.py: schedul: unknown key 'schedul'. Did you mean 'schedule'?"),
    ('schedule = dict(learning_rate=1)', "run.py: schedule.learning_rate: unknown key 'learning_rate'."),
    ("schedule = dict(lr='fast')", "run.py: schedule.lr: given 'fast' (str), allowed: a number, above 0."),
    ('schedule = dict(lr=0)', 'schedule.lr: given 0 (int), allowed: a number, above 0.'),
    ('schedule = dict(lr=True)', 'schedule.lr: given True (bool), allowed: a number'),
    ('schedule = dict(warmup_ratio=3)',
     'schedule.warmup_ratio: given 3 (int), allowed: a number, at least 0 and at most 1.'),
    ('schedule = dict(betas=[0.9])', 'schedule.betas: given [0.9] (list), allowed: a list of numbers'),
    ('schedule = dict(betas=[0.9, 1.0])', 'schedule.betas: given [0.9, 1.0]'),
    ("schedule = dict(lr_schedule='cosin')", "Did you mean 'cosine'?"),
    ('schedule = dict(micro_batch_size=7)', 'schedule.micro_batch_size: given 7, allowed: a divisor of '
                                            'global_batch_size = 128.'),
    ('schedule = dict(mini=dict(rnk=1))', "schedule.mini.rnk: unknown key 'rnk'. Did you mean 'rank'?"),
    ('schedule = 3', 'schedule'),
    ("evaluation = dict(policy='sen')", "given 'sen' (str), allowed: 'seen' or 'all' or 'last'. Did you mean 'seen'?"),
    ('seed = 1.5', 'seed: given 1.5 (float), allowed: a whole number, at least 0.'),
    ('seeds = [1, 1]', 'seeds: 1 is given 2 times'),
    ('seeds = []', 'seeds: given an empty list'),
    ("order = 'revers'", "order: unknown order 'revers'. Did you mean 'reverse'?"),
    ("order = ['GQA', 'GQA']", "order: 'GQA' is given 2 times"),
    ("order = ['GCA']", "order: unknown task 'GCA'. Did you mean 'GQA'?"),
    ("orders = ['reverse']\norder = 'reverse'", 'orders: given together with `order`'),
    ("tasks = ['ScienceQ']", "tasks: unknown task 'ScienceQ'. Did you mean 'ScienceQA'?"),
    ("compat = 'coyn'", "Did you mean 'coin'?"),
    ('methods = []', 'methods: given [] (list), allowed: a list such as'),
    ("methods = [dict(type='FineTun')]", "methods.0.type: unknown method 'FineTun'. Did you mean 'FineTune'?"),
    ('methods = [dict(rank=8)]', 'methods.0.type: missing; allowed:'),
    ("methods = [dict(type='FineTune', rnk=8)]",
     "methods.0.rnk: unknown argument of method 'FineTune': 'rnk'. Did you mean 'rank'?"),
    ("methods = [dict(type='FineTune', rank='8')]", "methods.0.rank: given '8' (str), allowed: a whole number"),
    ("methods = [dict(type='os.path:join')]", "methods.0.type: unknown method 'os.path:join'"),
    ("backbone = dict(type='Lava')", "backbone.type: unknown backbone 'Lava'. Did you mean 'Llava'?"),
    ("strategy = dict(type='DeepSped')", "Did you mean 'DeepSpeed'?"),
    ("strategy = dict(type='DeepSpeed', stag=2)", "Did you mean 'stage'?"),
    ("plugins = 'my_plugin.py'", 'plugins: given'),
    ('data = dict(root=__import__("pathlib"))', "allowed: strings, finite numbers"),
    ('schedule = dict(eps=float("nan"))', 'schedule.eps: given nan (float)'),
    ('for i in range(2):\n    pass', "A variable of the file itself starts with an underscore."),
]


def refused(path, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(('line', 'expected'), CASES, ids=[case[0].splitlines()[0] for case in CASES])
def test_each_mistake_gets_its_message(write, line: str, expected: str) -> None:
    text = refused(write('run.py', f"_base_ = 'base.py'\n{line}\n"))
    assert expected in text


def test_the_base_config_is_right(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\n"))
    assert [task.name for task in config.benchmark.tasks] == ['ScienceQA', 'GQA']
    assert config.schedule.betas == (0.9, 0.999)
    assert 'mini' not in config.backbone


def test_all_problems_come_at_once(write) -> None:
    text = refused(write('run.py', "_base_ = 'base.py'\nsede = 1\nschedule = dict(lr='x', warmup_ratio=2)\n"
                                   "methods = [dict(type='Fine')]\n"))
    assert text.startswith('4 problems:')
    assert len(text.splitlines()) == 5


def test_missing_values_are_told(write) -> None:
    text = refused(write('run.py', "methods = [dict(type='FineTune')]\n"))
    for key in ('backbone', 'benchmark', 'schedule'):
        assert f'run.py: {key}: missing; allowed: ' in text


@pytest.mark.parametrize(('change', 'expected'), [
    ("dict(name='GQA', test=dict(type='Mini', kind='gqa'), metric=dict(type='gqa'))",
     'benchmark.tasks.0.train: missing'),
    ("dict(name='GQA', train=dict(type='Mini', kind='gqa'), test=dict(type='Mini'), metric=dict(type='gqa'))",
     "benchmark.tasks.0.test.kind: missing: dataset 'Mini' needs it"),
    ("dict(name='GQA', train=dict(type='Mini', kind='gqa'), test=dict(type='Mini', kind='gqa'), "
     "metric=dict(type='gqa', mode='upstrem'))", 'benchmark.tasks.0.metric'),
    ("dict(name='GQA', train=dict(type='Mini', kind='gqa'), test=dict(type='Mini', kind='gqa'), "
     "metric=dict(type='gqa'), generation=dict(max_new_tokens=0))",
     'benchmark.tasks.0.generation.max_new_tokens: given 0'),
    ("dict(name='GQA', train=dict(type='Mini', kind='gqa'), test=dict(type='Mini', kind='gqa'), "
     "metric=dict(type='gqa'), schedule=dict(epoch=3))", "Did you mean 'epochs'?"),
])
def test_mistakes_inside_a_task(write, change: str, expected: str) -> None:
    assert expected in refused(write('run.py', f"_base_ = 'base.py'\nbenchmark = dict(tasks=[{change}], orders=dict("
                                               '_delete_=True))\n'))


def test_tasks_of_one_name_and_of_one_file_name_are_refused(write) -> None:
    task = "train=dict(type='Mini', kind='gqa'), test=dict(type='Mini', kind='gqa'), metric=dict(type='gqa')"
    text = refused(write('run.py', "_base_ = 'base.py'\nbenchmark = dict(tasks=[dict(name='OCR VQA', " + task
                                   + "), dict(name='ocr-vqa', " + task + ')], orders=dict(_delete_=True))\n'))
    assert 'tasks of one name (or file name): OCR VQA, ocr-vqa' in text


def test_orders_of_the_benchmark_are_checked(write) -> None:
    text = refused(write('run.py', "_base_ = 'base.py'\nbenchmark = dict(orders=dict(odd=['GQA', 'VQA']))\n"))
    assert "benchmark.orders.odd: unknown task 'VQA'. Did you mean 'GQA'?" in text


def test_tasks_that_the_order_leaves_out_are_refused(write) -> None:
    text = refused(write('run.py', "_base_ = 'base.py'\nbenchmark = dict(orders=dict(short=['GQA']))\n"
                                   "order = 'short'\ntasks = ['ScienceQA']\n"))
    assert "tasks: ScienceQA given; the order 'short' leaves them out" in text


def test_validation_imports_no_torch(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    code = ('import sys\nfrom coinkit.config import load_config\n'
            f'load_config({str(path)!r})\nsys.exit("torch" in sys.modules)')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
