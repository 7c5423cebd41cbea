"""The scaffold: its own tests pass as generated, its names follow from one, and nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coinkit.cli.main import main
from coinkit.cli.new_plugin import FILES, names_of
from coinkit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scaffold(tmp_path: Path) -> Path:
    folder = tmp_path / 'somewhere' / 'new'
    assert main(['new-plugin', 'weight-anchor', '--out', str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_its_own_tests_pass_as_generated(scaffold: Path) -> None:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider'], cwd=scaffold,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '3 passed' in done.stdout


def test_every_file_is_filled_in(scaffold: Path) -> None:
    files = {str(path.relative_to(scaffold)): path.read_text() for path in scaffold.rglob('*') if path.is_file()}
    assert len(files) == len(FILES)
    assert 'weight-anchor = "coinkit_weight_anchor"' in files['pyproject.toml']
    assert "METHODS.add('WeightAnchor', 'coinkit_weight_anchor.method:WeightAnchor')" in (
        files['coinkit_weight_anchor/__init__.py'])
    for name, text in files.items():
        assert '$' not in text, name
        if name.endswith('.py'):
            compile(text, name, 'exec')
    assert len(files['coinkit_weight_anchor/method.py'].splitlines()) < 60


def test_the_scaffold_keeps_our_style(scaffold: Path) -> None:
    command = [sys.executable, '-m', 'ruff', 'check', '--isolated', '--line-length', '120', '--select', 'E,F,W,I,UP,B', '.']
    done = subprocess.run(command, cwd=scaffold, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_default_folder_is_named_after_the_distribution(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['new-plugin', 'coinkit-shrink']) == 0
    assert (tmp_path / 'coinkit-shrink' / 'coinkit_shrink' / 'method.py').is_file()
    assert 'cd coinkit-shrink && pytest' in capsys.readouterr().out


@pytest.mark.parametrize(('given', 'hint'), [
    ('Weight_Anchor', "Did you mean 'weight-anchor'?"), ('weightAnchor', "Did you mean 'weight-anchor'?"),
    ('2fast', 'a letter first'), ('', 'weight-anchor'), ('../x', "Did you mean 'x'?"), ('a--b', "Did you mean 'a-b'?"),
    ('moelora', "there is a method 'MoELoRA' already (plug-in 'coinkit')")])
def test_a_bad_name_is_refused_with_a_good_one(given: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        names_of(given)
    assert hint in str(caught.value)


def test_nothing_is_overwritten(scaffold: Path, tmp_path: Path, capsys) -> None:
    method = scaffold / 'coinkit_weight_anchor' / 'method.py'
    method.write_text('my work')
    assert main(['new-plugin', 'weight-anchor', '--out', str(scaffold)]) == 2
    assert 'nothing is overwritten' in capsys.readouterr().err
    assert method.read_text() == 'my work'
    (tmp_path / 'file').touch()
    assert main(['new-plugin', 'weight-anchor', '--out', str(tmp_path / 'file')]) == 2
    assert 'is a file' in capsys.readouterr().err
    assert main(['new-plugin', 'weight-anchor', '--out', str(tmp_path / 'file' / 'below')]) == 2
    (tmp_path / 'empty').mkdir()
    assert main(['new-plugin', 'weight-anchor', '--out', str(tmp_path / 'empty')]) == 0
