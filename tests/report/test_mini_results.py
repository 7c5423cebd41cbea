"""The page of results on the mini stream: it is what its runs came to, and its command can start every one of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'


@pytest.fixture(scope='module')
def tool():
    spec = spec_from_file_location('mini_results', ROOT / 'tools' / 'mini_results.py')
    module = sys.modules['mini_results'] = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules['mini_results']


def between(tool, page: Path) -> str:
    return page.read_text(encoding='utf-8').split(tool.BEGIN)[1].split(tool.END)[0]


def test_the_page_is_what_its_runs_came_to(tool, tmp_path):
    page = tmp_path / 'results.md'
    for name in ('results.md', 'results.json'):
        shutil.copy(DOCS / name, tmp_path)
    kept = tool.keep([], tmp_path / 'results.json')
    assert (tmp_path / 'results.json').read_bytes() == (DOCS / 'results.json').read_bytes()
    tool.write_page(tool.analyze(tool.averaged(kept)), page)
    assert between(tool, page) == between(tool, DOCS / 'results.md')
    shown = re.findall(r'\((images/\S+)\)', between(tool, page))
    assert len(shown) == len(tool.PICTURES)
    assert all((folder / each).is_file() for each in shown for folder in (DOCS, tmp_path))


def test_a_run_replaces_what_the_file_has_of_it_and_the_rest_stays(tool, tmp_path, monkeypatch):
    file = tmp_path / 'results.json'
    job, other = tool.Job('CIA', 1, tmp_path), tool.Job('FineTune', 0, tmp_path)
    monkeypatch.setattr(tool.Job, 'done', True)
    monkeypatch.setattr(tool, '_record', lambda job: {'method': job.method, 'seed': job.seed, 'found': 1})
    tool.keep([job, other], file)
    monkeypatch.setattr(tool, '_record', lambda job: {'method': job.method, 'seed': job.seed, 'found': 2})
    kept = tool.keep([job], file)
    assert [(one['method'], one['seed'], one['found']) for one in kept] == [('FineTune', 0, 1), ('CIA', 1, 2)]
    assert json.loads(file.read_text()) == kept


def test_the_readme_tells_the_same(tool):
    """Its rows are named in words that begin with the method's name: 'MR-LoRA (it finds the expert itself)'."""
    runs = {run.name.lower(): run for run in tool.averaged(json.loads((DOCS / 'results.json').read_text()))}
    shown = re.findall(r'^\| ([\w-]+)[^|]*((?:\| \d+ ){8})\| ([^|]+) \|', (ROOT / 'README.md').read_text(), re.MULTILINE)
    assert len(shown) == len(runs)
    for name, cells, acc in shown:
        run = runs[name.replace('-', '').lower()]
        last = run.matrix.zero_shot if run.name == 'ZeroShot' else run.matrix.scores[-1]
        assert [int(cell) for cell in cells.replace('|', ' ').split()] == pytest.approx(last, abs=0.51), name
        wanted = run.metrics['ACC'].mean if run.name != 'ZeroShot' else sum(last) / len(last)
        assert float(acc.split('±')[0]) == pytest.approx(wanted, abs=0.051), name


@pytest.mark.slow
@pytest.mark.parametrize('method', ['EWC', 'MRLoRA'])  # one of a plug-in that need not be installed, one of coinkit's own
def test_its_command_can_start_the_run(tool, tmp_path, method):
    done = subprocess.run([*tool.Job(method, 0, tmp_path / 'run').command, '--dry-run'], env=tool.environment(),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and 'Ready' in done.stdout, done.stderr
