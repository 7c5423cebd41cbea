"""Finding and reading config files: names, bases, broken Python."""

from pathlib import Path

import pytest

from coinkit.config import load_config, shipped_names, shipped_root
from coinkit.errors import ConfigError


def message(call, *args, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_a_child_changes_single_keys_of_its_base(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\nschedule = dict(lr=1e-5)\n"))
    assert config.schedule.lr == 1e-5
    assert config.schedule.global_batch_size == 128
    assert config.name == 'run'


def test_a_child_reads_values_of_its_base(write) -> None:
    config = load_config(write('run.py', "_base_ = ['base.py']\nschedule = dict(lr=_base_.schedule.lr / 2)\n"))
    assert config.schedule.lr == 1e-4


def test_delete_replaces_a_section(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n"
                           'schedule = dict(_delete_=True, lr=1e-5, global_batch_size=8, micro_batch_size=2)\n')
    assert load_config(path).schedule.global_batch_size == 8
    path = write('run.py', "_base_ = 'base.py'\nschedule = dict(_delete_=True, lr=1e-5)\n"
                           "data = dict(_delete_=True, root='d')\n")
    text = message(load_config, path)
    assert 'run.py: schedule.micro_batch_size: missing' in text
    assert 'unknown key' not in text


def test_names_with_underscore_functions_and_modules_are_no_keys(write) -> None:
    path = write('run.py', "import math\n_base_ = 'base.py'\n_half = 0.5\n\n\ndef rate():\n    return math.sqrt(4e-8)\n"
                           '\n\nschedule = dict(lr=rate() * _half)\n')
    assert load_config(path).schedule.lr == pytest.approx(1e-4)


def test_shipped_configs_are_found_by_name_from_an_empty_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert 'mini/finetune' in shipped_names()
    assert not any(name.startswith('_base_') for name in shipped_names())
    assert load_config('mini/finetune').source == (shipped_root() / 'mini' / 'finetune.py').resolve()
    assert load_config('mini/finetune.py').name == 'finetune'


def test_a_users_config_takes_a_shipped_base_from_an_empty_directory(write, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    write('mine.py', "_base_ = 'coinkit::mini/finetune.py'\nschedule = dict(lr=5e-4)\n")
    config = load_config('mine.py')
    assert config.schedule.lr == 5e-4
    assert config.methods[0]['type'] == 'FineTune'


def test_a_config_that_does_not_exist_names_the_nearest_shipped_one() -> None:
    text = message(load_config, 'mini/finetun')
    assert "Did you mean 'mini/finetune'?" in text
    assert 'mini/finetun: there is no such config file' in text


def test_a_base_that_does_not_exist_names_file_line_and_the_nearest(write) -> None:
    text = message(load_config, write('run.py', "\n_base_ = './bse.py'\n"))
    assert 'run.py: line 2: _base_: there is no file' in text
    assert "Did you mean './base.py'?" in text
    text = message(load_config, write('run.py', "_base_ = 'coinkit::mini/finetun.py'\n"))
    assert "Did you mean 'coinkit::mini/finetune.py'?" in text


def test_broken_python_is_told_with_file_line_and_text(write) -> None:
    text = message(load_config, write('run.py', "_base_ = 'base.py'\nschedule = dict(lr=\n"))
    assert 'run.py: line 2: broken Python' in text
    assert 'schedule = dict(lr=' in text


def test_an_exception_in_a_config_is_told_with_line_and_text(write) -> None:
    text = message(load_config, write('run.py', "_base_ = 'base.py'\nseed = 1\nschedule = dict(lr=rate)\n"))
    assert "run.py: line 3: NameError: name 'rate' is not defined: 'schedule = dict(lr=rate)'" in text
    text = message(load_config, write('run.py', "_base_ = 'base.py'\nseed = {{_base_.seed}}\n"))
    assert 'without braces' in text


def test_bases_must_not_set_the_same_key_twice(write) -> None:
    write('other.py', 'schedule = dict(lr=1.0)\n')
    text = message(load_config, write('run.py', "_base_ = ['base.py', 'other.py']\n"))
    assert "two bases set the same key 'schedule'" in text
    assert 'base.py and' in text and 'other.py' in text


def test_bases_that_go_in_a_circle_are_refused(write) -> None:
    write('a.py', "_base_ = 'b.py'\n")
    assert 'circle' in message(load_config, write('b.py', "_base_ = 'a.py'\n"))


def test_a_dict_cannot_inherit_from_a_list(write) -> None:
    assert 'run.py' in message(load_config, write('run.py', "_base_ = 'base.py'\nmethods = dict(type='FineTune')\n"))


def test_problems_name_the_file_of_the_chain_that_set_the_key(write) -> None:
    write('middle.py', "_base_ = 'base.py'\nevaluation = dict(policy='sen')\n")
    text = message(load_config, write('run.py', "_base_ = 'middle.py'\nseed = 'a'\n"))
    assert f'{Path("middle.py")}: evaluation.policy' in text
    assert 'run.py: seed:' in text
