"""A tiny real run: two mini tasks, three steps each, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from coinkit.cli.main import main
from coinkit.plugins import load_plugins

TINY = '''
_base_ = 'coinkit::mini/finetune.py'
tasks = ['ScienceQA', 'TextVQA']
schedule = dict(steps=3, global_batch_size=2, micro_batch_size=2)
evaluation = dict(limit=1, zero_shot=False)
checkpoint = dict(every_steps=1)
methods = [{methods}]
'''


@pytest.fixture(scope='session', autouse=True)
def _the_plugin_alone() -> Iterator[None]:
    load_plugins(['coinkit_ewc'])
    yield
    load_plugins()


@pytest.fixture(scope='session')
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`train('name', "dict(type='EWC')")` gives the run directory; the same name again continues the run."""
    folder = tmp_path_factory.mktemp('runs')

    def run(name: str, *methods: str, plugins: tuple[str, ...] = ()) -> Path:
        config = folder / f'{name}.py'
        config.write_text(TINY.format(methods=', '.join(methods)))
        arguments = ['train', str(config), '--work-dir', str(folder / name)]
        given = [each for plugin in ('coinkit_ewc', *plugins) for each in ('--plugin', plugin)]
        assert main([*arguments, *given]) == 0
        return folder / name

    return run
