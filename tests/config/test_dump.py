"""The resolved config reads back equal; differences are told; the stream and its variants."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coinkit.config import diff, dump, load_config, resolve_stream, variants
from coinkit.config.dump import _text

LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(LITERALS)
@example({'\u00b5': None})
def test_any_literal_reads_back_equal(value) -> None:
    assert eval(_text(value, 0), {'dict': dict}) == value


def test_a_config_reads_back_equal(write) -> None:
    config = load_config(write('run.py', "_base_ = 'base.py'\nseeds = [1, 2]\norder = 'reverse'\n"))
    again = load_config(write('config.py', dump(config)))
    assert again == config
    assert diff(config, again) == []


def test_where_files_come_from_is_no_part_of_a_run() -> None:
    """A later version may know more of it; the same run goes on."""
    path, task = 'mllm_cl/ability_llava_finetune', 'benchmark.per_task.Math'
    old = load_config(path)
    told = [f"{task}.test.source='elsewhere'", f"{task}.train.image_sources={{'images': 'elsewhere'}}",
            f"{task}.test.annotations.source='elsewhere'"]
    assert diff(old, load_config(path, options=told)) == []
    assert diff(old, load_config(path, options=[*told, f'{task}.test.annotations.subset=True'])) == [
        'stream task 2.test.annotations.subset: None -> True']


def test_plugins_of_a_config_are_found_from_the_dumped_file(write, tmp_path, monkeypatch) -> None:
    write('plug/shout.py', 'def coinkit_log(state, record): ...\n')
    path = write('plug/run.py', "_base_ = '../base.py'\nplugins = ['shout.py']\n")
    config = load_config(path)
    assert config.plugins == (str(tmp_path / 'plug' / 'shout.py'),)
    monkeypatch.chdir('/')
    assert load_config(write('elsewhere/config.py', dump(config))).plugins == config.plugins


def test_a_changed_value_is_told_and_harmless_ones_are_not(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    old = load_config(path)
    new = load_config(path, options=['schedule.lr=1e-5', 'data.workers=1', 'checkpoint.every_steps=5',
                                     'methods.0.rank=4'])
    assert diff(old, new) == ['methods.0.rank: 128 -> 4', 'schedule.lr: 0.0002 -> 1e-05']


def test_tasks_appended_at_the_end_are_no_change(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")
    short, long = load_config(path, options=['tasks=ScienceQA']), load_config(path)
    assert diff(short, long) == []
    assert [line.partition(':')[0] for line in diff(long, short)] == ['stream task 2']
    assert diff(long, load_config(path, options=['order=reverse'])), 'another order is a change'


def test_the_stream_follows_order_and_tasks(write) -> None:
    path = write('run.py', "_base_ = 'base.py'\n")

    def names(*options: str) -> list[str]:
        return [task.name for task in resolve_stream(load_config(path, options=options))]

    assert names() == ['ScienceQA', 'GQA']
    assert names('order=reverse') == ['GQA', 'ScienceQA']
    assert names('order=[GQA]') == ['GQA']
    assert names('order=reverse', 'tasks=ScienceQA') == ['ScienceQA']


@pytest.mark.parametrize(('options', 'folders'), [
    ([], ['']),
    (['seeds=[1,2]'], ['seed-1', 'seed-2']),
    (['orders=[reverse]'], ['order-reverse']),
    (['orders=[reverse]', 'seeds=[3]'], ['order-reverse/seed-3']),
])
def test_variants_are_one_run_each(write, options, folders) -> None:
    runs = variants(load_config(write('run.py', "_base_ = 'base.py'\n"), options=options))
    assert [folder for folder, _ in runs] == folders
    for folder, config in runs:
        assert variants(config) == [('', config)]
        assert not folder.endswith('seed-3') or config.seed == 3
