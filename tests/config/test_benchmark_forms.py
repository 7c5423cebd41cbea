"""Short forms of a benchmark: a folder as a task, changes by task name, the instruction style by one key."""

import json

import pytest

from coinkit.config import dump, load_config
from coinkit.config.benchmarks import load_benchmark
from coinkit.errors import ConfigError

STYLED = '''
_base_ = 'base.py'
benchmark = dict(
    style='original',
    styles=dict(original=dict(where=['new/Original', 'old/Original']), diverse=dict(where='Diverse')),
    tasks=[dict(name='GQA', train=dict(type='InstructionJson', path='{where}/train.json'),
                test=dict(type='InstructionJson', path=['{where}/val.json', 'val.json']), metric=dict(type='gqa'),
                mini=dict(train=dict(type='Mini', kind='gqa', style='{style}'), test=dict(type='Mini', kind='gqa')))],
    orders=dict(_delete_=True))
'''


def refused(path, *options) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, options=options)
    return str(caught.value)


def test_a_style_fills_its_words_in(write) -> None:
    [task] = load_config(write('run.py', STYLED)).benchmark.tasks
    assert task.train['path'] == ['new/Original/train.json', 'old/Original/train.json']
    assert task.test['path'] == ['new/Original/val.json', 'old/Original/val.json', 'val.json']
    [task] = load_config(write('run.py', STYLED), options=['benchmark.style=diverse']).benchmark.tasks
    assert (task.train['path'], task.test['path']) == ('Diverse/train.json', ['Diverse/val.json', 'val.json'])
    [task] = load_config(write('run.py', STYLED), options=['benchmark.style=diverse'], mini=True).benchmark.tasks
    assert task.train['style'] == 'diverse'


def test_a_run_file_chooses_the_style(write) -> None:
    write('styled.py', STYLED)
    path = write('run.py', "_base_ = 'styled.py'\nbenchmark = dict(style='diverse')\n")
    config = load_config(path)
    assert config.benchmark.style == 'diverse' and config.benchmark.tasks[0].train['path'] == 'Diverse/train.json'
    assert load_config(write('config.py', dump(config))) == config


def test_an_unknown_style_is_told_with_those_there_are(write) -> None:
    said = refused(write('run.py', STYLED), 'benchmark.style=divers')
    assert "benchmark.style: unknown style 'divers'. Did you mean 'diverse'? Allowed: diverse, original." in said


def test_a_style_where_there_is_only_one_is_refused(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    assert 'come in one style only' in refused(path, 'benchmark.style=diverse')
    resolved = write('config.py', dump(load_config(write('styled.py', STYLED))))
    assert 'come in one style only' in refused(resolved, 'benchmark.style=diverse'), 'its paths are written out'
    assert "allowed: a dict from styles" in refused(write('odd.py', STYLED + "benchmark['styles'] = ['a']\n"))


@pytest.mark.parametrize(('given', 'style'), [([], '10type'), (['methods.0.style=diverse'], 'diverse')])
def test_methods_follow_the_style_unless_they_say_one(given, style) -> None:
    config = load_config('coin/llava_cia', options=['benchmark.style=10type', *given])
    assert config.methods[0]['style'] == style
    assert 'Instructions_10Type' in config.benchmark.tasks[0].train['path'][0]


@pytest.mark.parametrize('name', ['mini/cia', 'coin/llava_cia', 'coin_refined/llava_cia'])
def test_shipped_streams_have_three_styles(name) -> None:
    for style in ('original', 'diverse', '10type'):
        config = load_config(name, options=[f'benchmark.style={style}'], mini=True)
        assert {task.train['style'] for task in config.benchmark.tasks} == {style}
        assert config.methods[0].get('style', 'original') == style


def test_per_task_changes_single_keys(write) -> None:
    path = write('run.py', """_base_ = 'base.py'
benchmark = dict(per_task=dict(
    ScienceQA=dict(test=dict(size=7), metric=dict(type='gqa'), generation=dict(max_new_tokens=3))))
""")
    science, gqa = load_config(path, options=['benchmark.per_task.GQA.test.seed=5']).benchmark.tasks
    assert science.test == {'type': 'Mini', 'kind': 'scienceqa', 'split': 'test', 'size': 7}
    assert (science.metric, science.generation.max_new_tokens) == ({'type': 'gqa'}, 3)
    assert gqa.test == {'type': 'Mini', 'kind': 'gqa', 'split': 'test', 'seed': 5}
    said = refused(path, 'benchmark.per_task.GCA.test.seed=5')
    assert "benchmark.per_task.GCA: unknown task 'GCA'. Did you mean 'GQA'?" in said
    assert "unknown argument of dataset 'Mini': 'sed'" in refused(path, 'benchmark.per_task.GQA.test.sed=5')


def test_per_task_reaches_inside_annotations() -> None:
    option = 'benchmark.per_task.ScienceQA.test.annotations.subset=True'
    given = load_config('coin/llava_finetune', options=[option]).benchmark.tasks[0].test['annotations']
    assert given['subset'] is True and given['kind'] == 'scienceqa'


def test_a_folder_is_a_task(write, tmp_path) -> None:
    path = write('run.py', """_base_ = 'base.py'
benchmark = dict(tasks=[dict(folder='mine/birds', metric=dict(type='gqa')),
                        dict(name='Signs', folder='signs', metric=dict(type='vqa_exact_upper'),
                             train=dict(type='Mini', kind='gqa'))], orders=dict(_delete_=True))
""")
    birds, signs = load_config(path, mini=True).benchmark.tasks
    assert birds.name == 'birds' and signs.name == 'Signs'
    assert birds.test == {'type': 'Folder', 'path': 'mine/birds', 'split': 'test'}, '--mini keeps the data'
    assert (signs.train['type'], signs.test['path']) == ('Mini', 'signs')
    assert [task.name for task in load_benchmark(path).benchmark.tasks] == ['birds', 'Signs']
    text = write('odd.py', "_base_ = 'run.py'\nbenchmark = dict(tasks=[dict(folder=3, metric=dict(type='gqa'))])\n")
    assert 'benchmark.tasks.0.folder: given 3, allowed: a folder below data.root.' in refused(text)


def test_a_stream_of_folders_is_ready_without_code(write, tmp_path) -> None:
    from coinkit.engine.datasets import StreamDatasets

    for name in ('birds', 'signs'):
        write(f'data/{name}/train.jsonl', json.dumps({'id': 1, 'conversations': [
            {'from': 'human', 'value': 'what?'}, {'from': 'gpt', 'value': name}]}))
        write(f'data/{name}/test.json', json.dumps([{'id': 2, 'text': 'what?', 'answer': name}]))
    config = load_config(write('run.py', f"""_base_ = ['coinkit::_base_/backbones/llava_mini.py',
                                                       'coinkit::_base_/schedules/mini.py']
benchmark = dict(name='mine', tasks=[dict(folder=name, metric=dict(type='gqa')) for name in ('birds', 'signs')])
methods = [dict(type='FineTune', rank=16, alpha=32)]
data = dict(root={str(tmp_path / 'data')!r})
"""))
    from coinkit.config import resolve_stream

    datasets = StreamDatasets(resolve_stream(config), config.data)
    assert datasets.preflight() == []
    assert (datasets.train(0)[0].turns[-1].text, datasets.test(1)[0].references) == ('birds', ('signs',))
    (tmp_path / 'data/signs/test.json').unlink()
    [problem] = StreamDatasets(resolve_stream(config), config.data).preflight()
    assert 'signs/test.jsonl' in problem.where
