"""A run killed anywhere and started again by the same command ends in the same bytes as one that was left alone.

Three real SIGKILLs and two real signals here; the other points by an exception thrown in this process. The long campaign
with real kills only is `python tests/kill/campaign.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coinkit.errors import Interrupted
from coinkit.testing import small_runs
from coinkit.testing.faults import Killed, Points, install, spread
from coinkit.testing.small_runs import TRAINS_ALL, differing, digest, events, logged

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STATEFUL = f'plugins={json.dumps([str(HERE / "stateful.py")])}'


def methods(*chosen: dict[str, Any]) -> tuple[str, str]:
    return STATEFUL, f'methods={chosen!r}'


SMALL_LORA = dict(rank=4, alpha=8, dropout=0.05)
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {  # config, options, number of points
    'FineTune': ('finetune', TRAINS_ALL, 5),
    'MoELoRA': ('moelora', TRAINS_ALL, 2),
    'SingleTask': ('single_task', TRAINS_ALL, 2),
    'Joint': ('joint', TRAINS_ALL, 2),
    'full': ('finetune', (*methods(dict(type='FineTune', mode='full')), 'schedule.lr=1e-4'), 1),
    'state and data pass': ('finetune', methods(dict(type='FineTune', **SMALL_LORA), dict(type='Averaged')), 3),
    'phases': ('finetune', methods(dict(type='ThreePhases', **SMALL_LORA), dict(type='Averaged')), 5),
}


def die() -> None:
    raise Killed


@pytest.fixture(scope='session')
def uninterrupted() -> dict[str, tuple[dict[str, str], list, list]]:
    """Digest, points and losses of each case's run without a kill."""
    return {}


def run(engine, case: str, folder: Path, at: int | str = 0) -> tuple[dict[str, str], Points]:
    name, options, _ = CASES[case]
    points = Points(at, die)
    with pytest.MonkeyPatch.context() as patch:
        install(points, patch.setattr)
        return engine.train(small_runs.config(name, *options), folder), points


def baseline(engine, case: str, uninterrupted: dict, tmp_path: Path) -> tuple[dict[str, str], list, list]:
    if case not in uninterrupted:
        found, points = run(engine, case, tmp_path / 'uninterrupted')
        uninterrupted[case] = found, points.passed, losses(tmp_path / 'uninterrupted')
    return uninterrupted[case]


def losses(folder: Path) -> list[tuple[Any, ...]]:
    return [tuple(record[key] for key in ('stage', 'phase', 'step', 'loss', 'grad_norm')) for record in logged(folder)]


@pytest.mark.parametrize(('case', 'index'), [(case, i) for case, (_, _, count) in CASES.items() for i in range(count)])
def test_a_killed_run_ends_in_the_same_bytes(mini_engine, uninterrupted, tmp_path, case: str, index: int) -> None:
    expected, points, expected_losses = baseline(mini_engine, case, uninterrupted, tmp_path)
    point = spread(points, CASES[case][2], seed=list(CASES).index(case))[index]
    with pytest.raises(Killed):
        run(mini_engine, case, tmp_path / 'run', point.number)
    if index % 2:  # and once more while it resumes
        try:
            run(mini_engine, case, tmp_path / 'run', 20 + 7 * index)
        except Killed:
            pass
    found, _ = run(mini_engine, case, tmp_path / 'run')
    assert not differing(expected, found), point
    assert losses(tmp_path / 'run') == expected_losses, point
    leftovers = [str(path) for path in (tmp_path / 'run').rglob('.*') if path.name != '.lock']
    assert not leftovers and not list((tmp_path / 'run').glob('stages/*/checkpoint')), point


@pytest.mark.parametrize('point', [
    'start: before replace: 1',  # nothing but the lock and an empty ledger
    'start: half of a ledger line: 1',
    'evaluation: after append: 6',  # the last cell is in the ledger and not in matrix.json
    'checkpoint: after rename: 1',  # the checkpoint is whole and the ledger does not know it
])
def test_known_traps(mini_engine, uninterrupted, tmp_path, point: str) -> None:
    expected, *_ = baseline(mini_engine, 'FineTune', uninterrupted, tmp_path)
    with pytest.raises(Killed):
        run(mini_engine, 'FineTune', tmp_path / 'run', point)
    found, _ = run(mini_engine, 'FineTune', tmp_path / 'run')
    assert not differing(expected, found)


def test_a_stop_inside_a_data_pass_costs_that_pass_only(mini_engine, uninterrupted, tmp_path, monkeypatch) -> None:
    from coinkit.engine.state import RunState

    case = 'state and data pass'
    expected, *_ = baseline(mini_engine, case, uninterrupted, tmp_path)
    each_batch = RunState.each_batch

    def ask(self, *args, **kwargs):
        self.interrupt.requested = True
        yield from each_batch(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, 'each_batch', ask)
        with pytest.raises(Interrupted, match='the phases trained so far are saved.*Run the same command again'):
            run(mini_engine, case, tmp_path / 'run')
    assert len(events(tmp_path / 'run', 'phase_done')) == 1
    found, _ = run(mini_engine, case, tmp_path / 'run')
    assert not differing(expected, found)
    assert len(events(tmp_path / 'run', 'phase_done')) == 2


def test_the_points_spread_over_all_parts_of_a_run(mini_engine, uninterrupted, tmp_path) -> None:
    chosen = [point for number, case in enumerate(CASES)
              for point in spread(baseline(mini_engine, case, uninterrupted, tmp_path / case)[1], CASES[case][2],
                                  seed=number)]
    assert len(chosen) >= 20
    assert {'start', 'training', 'checkpoint', 'evaluation', 'stage change'} <= {point.where for point in chosen}


# --- real processes -----------------------------------------------------------------------------------------------


def command(folder: Path, *wrapper: str) -> subprocess.CompletedProcess:
    """`coinkit train` in a process of its own; with `wrapper`, one that signals itself."""
    program = [str(HERE / 'killed_command.py'), *wrapper, '--', 'train'] if wrapper else [str(ROOT / 'tools' / 'train.py')]
    arguments = ['mini/finetune', '--work-dir', str(folder), '--cfg-options', *small_runs.options(*TRAINS_ALL)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    return subprocess.run([sys.executable, *program, *arguments], env=environment, capture_output=True, text=True,
                          timeout=300)


@pytest.mark.slow
def test_real_kills(mini_engine, uninterrupted, tmp_path) -> None:
    """One run, killed while a checkpoint is moved into place, between two stages, and in a line of answers."""
    expected, _, _ = baseline(mini_engine, 'FineTune', uninterrupted, tmp_path)
    folder = tmp_path / 'run'
    for point in ('checkpoint: before rename: 2', 'stage change: after rename: 1',
                  'evaluation: half of a line of answers: 2'):
        killed = command(folder, '--at', point)
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
    finished = command(folder)
    assert finished.returncode == 0, finished.stderr
    assert not differing(expected, digest(folder))
    assert len(events(folder, 'run_started')) == 4 and len(events(folder, 'run_done')) == 1


@pytest.mark.slow
def test_sigterm_and_ctrl_c_save_and_exit_130(mini_engine, uninterrupted, tmp_path) -> None:
    expected, _, _ = baseline(mini_engine, 'FineTune', uninterrupted, tmp_path)
    folder = tmp_path / 'run'
    stopped = command(folder, '--signal', 'SIGTERM', '--at', 'training: after step: 1')
    assert stopped.returncode == 130, stopped.stderr
    assert 'saved at step 1 of 3' in stopped.stderr and 'Run the same command again' in stopped.stderr
    assert [record['step'] for record in events(folder, 'step_saved')] == [1]
    stopped = command(folder, '--signal', 'SIGINT', '--at', 'evaluation: after decode_batch: 1')
    assert stopped.returncode == 130, stopped.stderr
    assert list(folder.glob('predictions/*/.*.part-0')), 'the answers given so far are kept'
    finished = command(folder)
    assert finished.returncode == 0, finished.stderr
    assert not differing(expected, digest(folder))
