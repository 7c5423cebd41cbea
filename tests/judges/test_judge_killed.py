"""A real `coinkit judge` process, killed in the middle and started again: nothing is asked twice, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from coinkit.judges.cache import AnswerCache
from tests.judges.endpoint import Endpoint, Slow, serving
from tests.judges.made_run import make_run

ROOT = Path(__file__).resolve().parents[2]
KEY = 'sk-killed-secret-7'
ENOUGH = 5  # answers on disk before the process is killed
PATIENCE_S = 240


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('made') / 'run'
    return make_run(folder, lambda stage, task, number, sample: f'{stage} {number}', limit=8)


@pytest.fixture
def run_dir(made, tmp_path):
    shutil.copytree(made, tmp_path / 'run')
    return tmp_path / 'run'


def start(run_dir: Path, endpoint: Endpoint) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'tools' / 'judge.py'), str(run_dir), '--cfg-options', f'base_url={endpoint.url}',
         'model=m', 'api_key_env=KILLED_KEY', 'concurrency=2', 'longest_wait_s=0.05'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'KILLED_KEY': KEY, 'PYTHONPATH': str(ROOT), 'MPLBACKEND': 'agg'}, cwd=run_dir)


def stored(run_dir: Path) -> list[bytes]:
    path = run_dir / 'judgements' / 'answers.jsonl'
    return path.read_bytes().split(b'\n')[:-1] if path.exists() else []


def wait_for_answers(run_dir: Path, process: subprocess.Popen, count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(stored(run_dir)) < count:
        assert time.monotonic() < end and process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def finish(run_dir: Path, endpoint: Endpoint) -> str:
    process = start(run_dir, endpoint)
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, shown
    return shown


def test_killed_twice_and_finished(run_dir):
    with serving(lambda prompt, attempt: Slow('8', 0.1)) as endpoint:
        for kill in (1, 2):
            process = start(run_dir, endpoint)
            wait_for_answers(run_dir, process, ENOUGH * kill)
            process.kill()
            process.communicate()
            before = stored(run_dir)
            asked_before = Counter(endpoint.requests)
        shown = finish(run_dir, endpoint)
    assert stored(run_dir)[:len(before)] == before  # nothing that was there is lost
    total = 3 * 8
    assert len(stored(run_dir)) == len(AnswerCache(run_dir / 'judgements/answers.jsonl')) == len(endpoint.requests) == total
    again = sum(endpoint.requests.values()) - sum(asked_before.values())
    assert again == total - len(before)  # the third process asked what was not on disk, each once
    assert sum(endpoint.requests.values()) <= total + 2 * 2  # only what was on its way at a kill: two per process
    assert json.loads((run_dir / 'matrix.judge.json').read_text())['scores'] == [[80.0, None], [80.0, 80.0]]
    files = [path for path in run_dir.rglob('*') if path.is_file()]
    assert KEY not in shown and not [path for path in files if KEY.encode() in path.read_bytes()]


def test_sigterm_keeps_what_is_on_its_way_and_says_so(run_dir):
    with serving(lambda prompt, attempt: Slow('8', 0.5)) as endpoint:
        process = start(run_dir, endpoint)
        wait_for_answers(run_dir, process, ENOUGH)
        process.send_signal(signal.SIGTERM)
        shown = process.communicate(timeout=PATIENCE_S)[0]
        assert process.returncode == 130 and 'The same command goes on' in shown and 'Traceback' not in shown
        assert len(stored(run_dir)) == sum(endpoint.requests.values()) < 24
        assert (run_dir / 'matrix.judge.json').exists()
        finish(run_dir, endpoint)
    assert set(endpoint.requests.values()) == {1} and len(endpoint.requests) == 24
