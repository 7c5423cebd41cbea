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


@pytest.mark.slow
@pytest.mark.parametrize('method', ['EWC', 'MRLoRA'])  # one of a plug-in that need not be installed, one of coinkit's own
def test_its_command_can_start_the_run(tool, tmp_path, method):
    done = subprocess.run([*tool.Job(method, 0, tmp_path / 'run').command, '--dry-run'], env=tool.environment(),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and 'Ready' in done.stdout, done.stderr
