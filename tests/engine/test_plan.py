"""`--dry-run`: every shipped run can be planned on its mini backbone, whatever its method does to the bank."""

from __future__ import annotations

import pytest

from coinkit.config import load_config, shipped_names
from coinkit.engine.plan import show_plan

RUNS = [name for name in shipped_names() if not name.startswith('_base_')]


@pytest.mark.parametrize('name', RUNS)
def test_every_shipped_run_can_be_planned(name, tmp_path, capsys) -> None:
    assert show_plan(load_config(name, mini=True), tmp_path / 'run') == 0
    said = capsys.readouterr().out
    assert 'Ready' in said and not (tmp_path / 'run').exists()
