"""The default run directory is the run file's name: where two runs share it, the second is refused and told the cure."""

from __future__ import annotations

import pytest

from coinkit import atomic
from coinkit.config import dump, load_config
from coinkit.engine.launch import check_config, work_dir
from coinkit.engine.run_dir import RunDir
from coinkit.errors import ConfigError


@pytest.mark.parametrize(('other', 'options'), [
    ('ucit/llava_moelora', []), ('coin/llava_moelora', ['benchmark.style=diverse'])], ids=['stream', 'style'])
def test_a_run_of_the_same_name_is_refused(tmp_path, monkeypatch, other: str, options: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = load_config('coin/llava_moelora'), load_config(other, options=options)
    folder = work_dir(first)
    assert work_dir(second) == folder
    atomic.write_text(RunDir(folder).config, dump(first))
    check_config(RunDir(folder), first)
    with pytest.raises(ConfigError, match='Use another --work-dir'):
        check_config(RunDir(folder), second)
    check_config(RunDir(work_dir(second, 'work_dirs/of_its_own')), second)
