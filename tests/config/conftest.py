"""A two-task config in a temporary folder, as a user writes one; plug-ins of one test do not reach the next."""

from pathlib import Path

import pytest

from coinkit.plugins import load_plugins

BASE = '''
backbone = dict(type='Llava', checkpoint='weights/llava-1.5-7b-hf', dtype='bfloat16',
                mini=dict(checkpoint='mini', dtype='float32'))


def _mini(kind, split):
    return dict(type='Mini', kind=kind, split=split)


benchmark = dict(
    name='two',
    tasks=[
        dict(name='ScienceQA',
             train=dict(type='Mini', kind='scienceqa', split='train', size=500),
             test=dict(type='Mini', kind='scienceqa', split='test', size=100),
             metric=dict(type='scienceqa_coin'),
             generation=dict(max_new_tokens=16),
             schedule=dict(global_batch_size=64, epochs=2),
             mini=dict(train=_mini('scienceqa', 'train'), test=_mini('scienceqa', 'test'))),
        dict(name='GQA', train=_mini('gqa', 'train'), test=_mini('gqa', 'test'), metric=dict(type='gqa')),
    ],
    orders=dict(reverse=['GQA', 'ScienceQA']))
methods = [dict(type='FineTune', rank=128, alpha=256)]
schedule = dict(lr=2e-4, global_batch_size=128, micro_batch_size=16,
                mini=dict(rank=16, lr=1e-3, steps=100, global_batch_size=16))
'''


@pytest.fixture(autouse=True)
def fresh_plugins():
    load_plugins()
    yield
    load_plugins()


@pytest.fixture
def write(tmp_path: Path):
    """Write a file in the test's folder; the base config is there already, as `base.py`."""
    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        return path

    _write('base.py', BASE)
    return _write
