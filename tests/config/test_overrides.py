"""--cfg-options: values, lists, and misspelt keys, which mmengine alone would accept silently."""

import pytest

from coinkit.config import load_config
from coinkit.config.overrides import parse_value
from coinkit.errors import ConfigError


@pytest.mark.parametrize(('text', 'value'), [
    ('1e-4', 1e-4), ('3', 3), ('true', True), ('False', False), ('None', None), ('[1,2]', [1, 2]), ('1,2', [1, 2]),
    ('[gqa,vizwiz]', ['gqa', 'vizwiz']), ('reverse', 'reverse'), ("'3'", '3'), ('a=b', 'a=b'),
    ("[dict(type='FineTune', rank=8)]", [{'type': 'FineTune', 'rank': 8}]), ('dict(a=null, b=-1)', {'a': None, 'b': -1}),
    ('[{"type": "FineTune", "train_projector": false}]', [{'type': 'FineTune', 'train_projector': False}]),
    ('(1, 2)', [1, 2]),
])
def test_values(text: str, value) -> None:
    assert parse_value(text) == value


def test_single_keys_are_set_in_dicts_and_lists(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\n"), options=[
        'schedule.lr=1e-5', 'methods.0.rank=8', 'tasks=GQA', 'evaluation.zero_shot=true', 'schedule.steps=5',
        'benchmark.tasks.0.schedule.lr=3e-4'])
    assert config.schedule.lr == 1e-5
    assert config.methods[0]['rank'] == 8
    assert config.tasks == ('GQA',)
    assert config.evaluation.zero_shot is True
    assert config.benchmark.tasks[0].schedule['lr'] == 3e-4


@pytest.mark.parametrize(('option', 'expected'), [
    ('schedul.lr=1', "--cfg-options: schedul: unknown key 'schedul'. Did you mean 'schedule'?"),
    ('schedule.lr_rate=1', "--cfg-options: schedule.lr_rate: unknown key 'lr_rate'."),
    ('methods.0.rnk=1', "--cfg-options: methods.0.rnk: unknown argument of method 'FineTune': 'rnk'."),
    ('methods.4.rank=1', "'methods' is a list of 1: given '4', allowed: 0 to 0."),
    ('data.x=1', "--cfg-options: data.x: unknown key 'x'."),
    ('schedule.lr.x=1', "'schedule.lr' is 0.0002: it has no keys."),
    ('schedule.lr', "given 'schedule.lr', allowed: key=value"),
    ('schedule.lr=fast', "--cfg-options: schedule.lr: given 'fast' (str)"),
    ('tasks=GQA,[ScienceQA', 'Imbalanced brackets'),
    ('methods=[dict(type=FineTune)]', "given '[dict(type=FineTune)]', which is no literal."),
    ("methods=[{'type': FineTune}]", 'Words inside it need quotes'),
    ("methods=[dict('FineTune')]", 'which is no literal'),
])
def test_mistakes_are_refused_and_named(write, option: str, expected: str) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, options=[option])
    assert expected in str(caught.value)
