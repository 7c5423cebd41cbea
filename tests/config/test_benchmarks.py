"""A benchmark by itself: names, the sections that are checked, and what does not reach a run."""

from __future__ import annotations

import pytest

from coinkit.config import dump, load_config
from coinkit.config.benchmarks import benchmark_names, load_benchmark
from coinkit.errors import ConfigError


@pytest.mark.parametrize('name', benchmark_names())
def test_every_shipped_benchmark_stands_alone(name):
    config = load_benchmark(name)
    assert config.benchmark.name == name and config.benchmark.tasks
    assert all(download.repo.count('/') == 1 for download in config.benchmark.downloads)


def test_a_style_chooses_the_files_that_are_fetched():
    for style, folder in (('original', 'Instructions_Original/*'), ('10type', 'Instructions_10Type/*')):
        config = load_benchmark('coin', options=[f'benchmark.style={style}'])
        assert config.benchmark.downloads[0].files[0] == folder


def test_some_tasks_of_it():
    config = load_benchmark('mini').chosen(name for name in ('GQA', 'ScienceQA'))
    assert [task.name for task in config.benchmark.tasks] == ['ScienceQA', 'GQA']
    with pytest.raises(ConfigError, match="unknown task 'GQQ'.*'GQA'"):
        config.chosen(['GQQ'])


@pytest.mark.parametrize('text, message', [
    ("data = dict(root='x')", 'sets no benchmark'), ("benchmark = dict(name='x')", 'tasks: missing'),
    ("benchmark = dict(name='x', tasks=[dict(folder='a', metric=dict(type='gqa'), published=dict(train=0))])", 'at least 1'),
    ("benchmark = dict(name='x', tasks=[dict(folder='a', metric=dict(type='gqa'))], downloads=[dict(rep='a/b')])", "'rep'")])
def test_wrong_sections_are_told(tmp_path, text, message):
    (tmp_path / 'x.py').write_text(text + '\n')
    with pytest.raises(ConfigError, match=message):
        load_benchmark(tmp_path / 'x.py')


def test_what_concerns_data_alone_is_no_part_of_a_run():
    config = load_config('coin/llava_finetune')
    assert config.benchmark.downloads and config.benchmark.tasks[0].published.train == 12_726
    assert 'published' not in dump(config) and 'downloads' not in dump(config)
