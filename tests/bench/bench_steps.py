"""What a whole train step costs under each method, over FineTune's: `python tests/bench/bench_steps.py`.

Every method trains two tasks of the mini stream as it always does (the real runner and trainer), FineTune before and after
each; counted are the steps of the second task, where teachers, penalties, groups and replayed rows are at work. Seconds are
the thread's own, so that a busy machine disturbs little, and the median step counts. A method whose phases differ (MR-LoRA)
is told per phase, and one with samples of its own (the router's, which are longer) per token instead of per row.

Asserted: FineTune ends in the same bits before and after a method, what changes nothing in the first task learns FineTune's
bits there, every counted step is there, and both trained on the same number of samples (Replay's own rows apart).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from coinkit.engine.trainer import PhaseTrainer
from coinkit.plugins import load_plugins
from coinkit.testing import small_runs

EWC = Path(__file__).resolve().parents[2] / 'plugins' / 'coinkit-ewc'  # used where it lies
LORA = dict(rank=16, alpha=32, dropout=0.05, train_projector=False)
FINE_TUNE = [dict(type='FineTune', **LORA)]
METHODS: dict[str, list[dict[str, Any]]] = {
    'MoELoRA': [dict(type='MoELoRA', num_experts=8, **LORA)],
    'OLoRA': [dict(type='OLoRA', **LORA)],
    'CIA': [dict(type='CIA', **LORA)],
    'MAS': [*FINE_TUNE, dict(type='MAS', num_samples=16)],
    'EWC': [*FINE_TUNE, dict(type='EWC', num_samples=16)],
    'LwF': [*FINE_TUNE, dict(type='LwF')],
    'Replay': [*FINE_TUNE, dict(type='Replay', num_samples=64)],
    'MRLoRA': [dict(type='MRLoRA', **LORA, router_epochs=4)],
    'SingleTask': [dict(type='SingleTask', **LORA)],
}
LIMITS = defaultdict(lambda: 1.1, LwF=1.5)  # Replay's extra rows make its batches larger: told per row
FINE_TUNE_AT_FIRST = {'CIA', 'MAS', 'EWC', 'LwF', 'Replay', 'SingleTask'}  # their first task is FineTune's bit for bit
PHASES = defaultdict(lambda: {'fit'}, MRLoRA={'router', 'fit'})
WARM_UP = 2

Steps = dict[str, list[tuple[float, int, int]]]  # phase -> (seconds, rows, tokens) of each step
Learnt = list[str]  # the hashes of the adapters, by task


def steps_of(methods: Sequence[Mapping[str, Any]], engine: small_runs.MiniEngine, steps: int,
             rows: int) -> tuple[Steps, Learnt]:
    """The second task's steps, and what both tasks learnt."""
    found: Steps = defaultdict(list)
    original = PhaseTrainer._step

    def timed(trainer: PhaseTrainer, step: int, batches: list[Any]) -> None:
        start = time.thread_time()
        original(trainer, step, batches)
        if trainer.state.index == 1 and step >= WARM_UP:
            taken = sum(batch.input_ids_BL.shape[0] for batch in batches)
            tokens = sum(batch.input_ids_BL.numel() for batch in batches)  # as the model runs them: padded
            found[trainer.state.phase.name].append((time.thread_time() - start, taken, tokens))

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhaseTrainer, '_step', timed)
        file = small_runs.write_config(Path(folder) / 'run.py', methods)
        digest = engine.train(small_runs.config(
            str(file), f'schedule.steps={steps}', f'schedule.global_batch_size={rows}', f'schedule.micro_batch_size={rows}',
            'checkpoint.every_steps=None', 'evaluation.zero_shot=False', 'evaluation.limit=1', 'data.workers=2'),
            Path(folder) / 'run')
    learnt = [value for name, value in sorted(digest.items()) if name.endswith('adapter.safetensors')]
    return found, learnt[1:]  # without theta_0


def measure(names: Sequence[str], *, steps: int, rows: int) -> dict[str, dict[str, float]]:
    """Ratio by method and phase; per row where a method adds rows of its own."""
    result: dict[str, dict[str, float]] = {}
    with small_runs.small_engine({}) as engine, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EWC)
        load_plugins(['coinkit_ewc'])
        plain, fine_tuned = steps_of(FINE_TUNE, engine, steps, rows)
        for name in names:
            found, learnt = steps_of(METHODS[name], engine, steps, rows)
            after, again = steps_of(FINE_TUNE, engine, steps, rows)
            assert again == fine_tuned, f'FineTune beside {name} is not the FineTune before it'
            _check(name, found, learnt, plain, fine_tuned)
            both = [*plain['fit'], *after['fit']]
            result[name] = {phase: cost(taken, per=1 if phase == 'fit' else 2) / cost(both, per=1 if phase == 'fit' else 2)
                            for phase, taken in found.items()}
            plain = after
    return result


def _check(name: str, found: Steps, learnt: Learnt, plain: Steps, fine_tuned: Learnt) -> None:
    """That the same work was timed."""
    assert found.keys() == PHASES[name], f'{name} has the phases {", ".join(found)}'
    assert len(found['fit']) == len(plain['fit']), f'{name} took another number of steps'
    assert len(learnt) == len(set(learnt)) == len(fine_tuned), f'{name} learnt nothing in a task'
    assert name not in FINE_TUNE_AT_FIRST or learnt[0] == fine_tuned[0], f"{name}: its first task is not FineTune's"
    same_rows = {taken for _, taken, _ in found['fit']} == {taken for _, taken, _ in plain['fit']}
    assert same_rows or name == 'Replay', f'{name} trained on other numbers of rows'


def cost(steps: Sequence[tuple[float, int, int]], *, per: int) -> float:
    """Median seconds of a step per row (1) or per token (2)."""
    return statistics.median(step[0] / step[per] for step in steps)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('methods', nargs='*', metavar='METHOD', help=f'of {", ".join(METHODS)} (default: all)')
    parser.add_argument('--steps', type=int, default=16)
    parser.add_argument('--rows', type=int, default=16, help='of a global batch (default: 16)')
    args = parser.parse_args()
    ratios = measure(args.methods or [*METHODS], steps=args.steps, rows=args.rows)
    shown = {name: {phase: round(ratio, 3) for phase, ratio in found.items()} for name, found in ratios.items()}
    sys.stdout.write(json.dumps({'step / FineTune step, per row (router: per token)': shown}, indent=1) + '\n')
