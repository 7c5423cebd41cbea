"""`--dry-run`: every shipped run can be planned on its mini backbone, whatever its method does to the bank."""

from __future__ import annotations

from pathlib import Path

import pytest

from coinkit.config import load_config, shipped_names
from coinkit.engine.plan import show_plan
from coinkit.plugins import load_plugins

PLUGIN = Path(__file__).resolve().parents[2] / 'plugins' / 'coinkit-ewc'
RUNS = [name for name in shipped_names() if not name.startswith('_base_')]


@pytest.mark.parametrize('name', RUNS)
def test_every_shipped_run_can_be_planned(name, tmp_path, capsys) -> None:
    assert show_plan(load_config(name, mini=True), tmp_path / 'run') == 0
    said = capsys.readouterr().out
    assert 'Ready' in said and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('path', sorted(PLUGIN.glob('coinkit_ewc/configs/*.py')), ids=lambda path: path.stem)
def test_every_run_of_the_plugin_can_be_planned(path, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    load_plugins(['coinkit_ewc'])
    try:
        assert show_plan(load_config(path, mini=True), tmp_path / 'run') == 0
    finally:
        load_plugins()


def test_the_tables_of_coin_have_their_baselines() -> None:
    assert {f'coin/llava_{name}' for name in ('zero_shot', 'finetune', 'joint', 'single_task')} <= set(RUNS)
    assert {path.stem for path in PLUGIN.glob('coinkit_ewc/configs/*.py')} == {'mini_ewc', 'coin_ewc'}
