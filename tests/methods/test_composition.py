"""Methods of one run: those that add to others compose in any number, of those that claim the adapters there is one."""

from __future__ import annotations

import pytest

from coinkit.engine import preflight
from coinkit.engine.builder import build_methods
from coinkit.errors import ConfigError
from coinkit.testing.small_runs import config, write_config

OLORA, MOELORA, REPLAY, LWF = (dict(type=name) for name in ('OLoRA', 'MoELoRA', 'Replay', 'LwF'))


@pytest.mark.parametrize(('methods', 'text'), [
    ([OLORA, MOELORA], 'OLoRA and MoELoRA both claim the adapters'),
    ([REPLAY, OLORA, LWF, dict(type='FineTune')], 'OLoRA and FineTune both claim the adapters'),
    ([OLORA, MOELORA, dict(type='SingleTask')], 'OLoRA and MoELoRA and SingleTask all claim the adapters')])
def test_two_that_claim_the_adapters_are_refused_by_name_before_anything_is_built(tmp_path, methods, text) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', methods)))
    for check in (preflight.check, build_methods):
        with pytest.raises(ConfigError, match=text):
            check(cut_down)


@pytest.mark.parametrize(('methods', 'expected'), [
    ([REPLAY, OLORA], ['Replay', 'OLoRA']), ([REPLAY, MOELORA, LWF], ['Replay', 'MoELoRA', 'LwF']),
    ([REPLAY, LWF, dict(type='MAS')], ['FineTune', 'Replay', 'LwF', 'MAS'])])
def test_methods_that_add_go_with_one_that_claims_or_with_fine_tune(tmp_path, methods, expected) -> None:
    cut_down = config(str(write_config(tmp_path / 'run.py', methods)))
    preflight.check(cut_down)
    assert [name for name, _ in build_methods(cut_down)] == expected
