"""DDP and DeepSpeed as two CPU processes over gloo: one launch of `two_processes.py`, one test per case.

Tolerance against one process: 1e-6 (absolute and relative) at dropout 0; resuming in the same world is bit for bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from two_processes import NAMES

SCRIPT = Path(__file__).with_name('two_processes.py')
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> tuple[set[str], str]:
    """The cases that passed, and what the processes printed."""
    report = tmp_path_factory.mktemp('two_processes') / 'report.txt'
    report.touch()
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', str(SCRIPT),
               str(report)]
    environ = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.terminate()
        output = process.communicate()[0] + '\nno end after 120 s'
    return {line.split()[0] for line in report.read_text().splitlines()}, output


@pytest.mark.parametrize('name', NAMES)
def test_agrees_with_one_process(finished, name):
    passed, output = finished
    assert name in passed, output[-6000:]


def test_says_nothing_without_need(finished):
    """No banner, no warning, nothing compiled: what DeepSpeed logs would bury our own lines."""
    _, output = finished
    assert output.strip() == ''
