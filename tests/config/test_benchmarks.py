"""A benchmark by itself: names, the sections that are checked, and what does not reach a run."""

from __future__ import annotations

import pytest

from coinkit.config import dump, load_config
from coinkit.config.benchmarks import benchmark_names, load_benchmark
from coinkit.data.doctor.sets import sets_of, wrong_needs
from coinkit.data.doctor.sizes import wrong_size
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


@pytest.mark.parametrize('name, style', [
    *(('coin', style) for style in ('original', 'diverse', '10type')), ('coin_refined', 'original'),
    ('coin_refined', '10type'), ('mllm_cl_domain', None), ('mllm_cl_ability', None), ('ucit', None)])
def test_what_shipped_benchmarks_say_of_their_files_can_be_read(name, style):
    config = load_benchmark(name, options=[f'benchmark.style={style!r}'] if style else [])
    sets = sets_of(config.benchmark, config.data)
    assert wrong_needs(sets) == []
    assert all(each.source and '{' not in each.source for one in sets for each in one.needed() if not _is_optional(each))
    assert [problem for each in config.benchmark.downloads for problem in wrong_size('size', each.size)] == []


def _is_optional(need) -> bool:
    return getattr(need, 'optional', False)


def test_announced_sizes_are_those_of_the_style_and_of_the_benchmark():
    def sizes(name, *options):
        config = load_benchmark(name, options=options)
        [gqa] = [one for one in sets_of(config.benchmark, config.data) if one.name == 'GQA train']
        rows, pictures = gqa.needed()
        return rows.expected_size, gqa.published, pictures.expected_size, pictures.expected_pictures

    pictures = (20_300_000_000, 148_854)
    assert sizes('coin') == (225_000_000, 72_140, *pictures)
    assert sizes('coin', 'benchmark.style=diverse') == (226_000_000, 72_140, *pictures)
    assert sizes('coin', 'benchmark.style=10type') == (None, 72_140, *pictures)
    assert sizes('coin_refined') == (None, None, *pictures), "other rows than CoIN's"


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
