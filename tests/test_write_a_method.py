"""docs/write-a-method.md is true: its files run as they stand, and what it quotes is what the plug-in says."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from coinkit.cli.main import main
from coinkit.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'write-a-method.md').read_text(encoding='utf-8'), re.DOTALL)
FILES = {match[1]: block for block in BLOCKS if (match := re.match(r'# (\w+\.py)\n', block))}
TINY = ('schedule.steps=3', 'schedule.global_batch_size=2', 'schedule.micro_batch_size=2', 'evaluation.limit=1',
        'evaluation.zero_shot=False', 'device=cpu')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    load_plugins()


def test_the_method_and_its_config_run(folder: Path) -> None:
    assert main(['train', 'my_config.py', '--cfg-options', *TINY]) == 0
    run = folder / 'work_dirs' / 'my_config'
    assert (run / 'matrix.json').is_file() and 'Anchor.pull' in (run / 'log.jsonl').read_text()


def test_the_test_passes(folder: Path) -> None:
    names: dict = {}
    exec(compile(FILES['test_my_method.py'], 'test_my_method.py', 'exec'), names)
    tests = [value for name, value in names.items() if name.startswith('test_')]
    assert len(tests) == 1
    tests[0]()


def test_every_block_is_python() -> None:
    assert set(FILES) == {'my_method.py', 'my_config.py', 'test_my_method.py'}
    for block in BLOCKS:
        ast.parse(textwrap.dedent(block))


def test_what_is_quoted_from_ewc_stands_there() -> None:
    source = (ROOT / 'plugins' / 'coinkit-ewc' / 'coinkit_ewc' / 'ewc.py').read_text(encoding='utf-8')
    quoted = [block for block in BLOCKS if block.startswith('    ')]
    assert len(quoted) == 2 and all(block in source for block in quoted)
