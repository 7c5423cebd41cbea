"""A start that is refused before its first step leaves nothing behind that refuses the next one, and takes nothing away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit import atomic
from coinkit.engine.evaluator import Evaluator
from coinkit.engine.runner import Runner
from coinkit.errors import ConfigError, DataError, Interrupted
from coinkit.methods.mr_lora.prompts import PARTS
from coinkit.testing.faults import Killed
from coinkit.testing.small_runs import config, digest, events, matrix, write_config

LORA = dict(rank=4, alpha=8)
QUICK = ('evaluation.limit=1', 'schedule.steps=1', 'schedule.warmup_steps=0')


def run_file(folder: Path, *methods: dict) -> str:
    return str(write_config(folder / 'run.py', methods))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob('*'))


def start_that_fails(error: BaseException, patch: pytest.MonkeyPatch, *, name: str = '_stage') -> None:
    """Runs of this test end with `error` when the runner comes to its part `name`."""
    def fail(*_: object) -> None:
        raise error

    patch.setattr(Runner, name, fail)


@pytest.mark.parametrize('zero_shot', [True, False])
def test_a_prompt_that_does_not_fit_is_mended_in_the_config(mini_engine, tmp_path, monkeypatch, zero_shot) -> None:
    """Known when the model is there and theta_0 stored, before it answers; the run then starts with the mended config."""
    options = (*QUICK, f'evaluation.zero_shot={zero_shot}')
    parts = dict.fromkeys(PARTS, 'word ' * 2000) | {'question': '{question}', 'expert': '{letter}: {description}'}
    (tmp_path / 'long.json').write_text(json.dumps(parts))
    mr_lora = dict(type='MRLoRA', **LORA, router_samples=2, router_steps=1, router_batch_size=2)
    file = run_file(tmp_path, mr_lora | {'prompt': str(tmp_path / 'long.json')})
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match='the routing prompt for 2 experts does not fit'):
        patch.setattr(Evaluator, '_answers', lambda *_: pytest.fail('something is asked'))
        mini_engine.train(config(file, *options), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
    mini_engine.train(config(run_file(tmp_path, mr_lora), *options), tmp_path / 'run')
    assert None not in matrix(tmp_path / 'run')['scores'][-1]


def test_a_source_that_does_not_fit(mini_engine, tmp_path) -> None:
    """One run per seed: the folder of several goes with the first, and would be refused by a run without seeds."""
    file = run_file(tmp_path, dict(type='FineTune', **LORA))
    mini_engine.train(config(file, *QUICK, tasks=('TextVQA',)), tmp_path / 'source')
    start = f'init_from={tmp_path / "source"}'
    with pytest.raises(ConfigError, match='has rank 4 and scale 2, this config asks for 2 and 4'):
        mini_engine.train(config(file, *QUICK, start, 'methods.0.rank=2', 'seeds=[1,2]'), tmp_path / 'runs')
    assert not (tmp_path / 'runs').exists()
    mini_engine.train(config(file, *QUICK, start, tasks=('TextVQA',)), tmp_path / 'runs')
    assert events(tmp_path / 'runs', 'run_done')


def test_of_several_runs_only_the_refused_one_is_removed(mini_engine, tmp_path, monkeypatch) -> None:
    file, train = run_file(tmp_path, dict(type='FineTune', **LORA)), Runner.train

    def refuse_the_second(runner: Runner) -> None:
        if runner.config.seed == 2:
            raise ConfigError('refused')
        train(runner)

    monkeypatch.setattr(Runner, 'train', refuse_the_second)
    with pytest.raises(ConfigError, match='refused'):
        mini_engine.train(config(file, *QUICK, 'seeds=[1,2]', tasks=('TextVQA',)), tmp_path / 'runs')
    assert [path.name for path in (tmp_path / 'runs').iterdir()] == ['seed-1']
    assert events(tmp_path / 'runs' / 'seed-1', 'run_done')


def test_nothing_of_an_earlier_start_is_removed(mini_engine, tmp_path, monkeypatch) -> None:
    small = config(run_file(tmp_path, dict(type='FineTune', **LORA)), *QUICK, 'evaluation.zero_shot=False')
    with monkeypatch.context() as patch:
        start_that_fails(Interrupted('stopped'), patch)
        with pytest.raises(Interrupted):
            mini_engine.train(small, tmp_path / 'run')
    before = digest(tmp_path / 'run')
    assert before
    with monkeypatch.context() as patch:
        start_that_fails(ConfigError('refused'), patch)
        with pytest.raises(ConfigError, match='refused'):
            mini_engine.train(small, tmp_path / 'run')
    assert digest(tmp_path / 'run') == before and len(events(tmp_path / 'run', 'run_started')) == 2


@pytest.mark.parametrize(('error', 'part'), [
    (ConfigError('refused'), '_cells'),  # behind the first task
    (DataError('a damaged picture'), '_stage')])  # behind the zero-shot row, and the cure need not be in the config
def test_what_is_trained_or_measured_stays(mini_engine, tmp_path, monkeypatch, error, part) -> None:
    start_that_fails(error, monkeypatch, name=part)
    with pytest.raises(type(error)):
        mini_engine.train(config(run_file(tmp_path, dict(type='FineTune', **LORA)), *QUICK), tmp_path / 'run')
    assert None not in matrix(tmp_path / 'run')['zero_shot'] and (tmp_path / 'run' / 'config.py').exists()


@pytest.mark.parametrize('error', [DataError('a damaged source'), RuntimeError('out of memory')])
def test_any_error_before_something_is_earned(mini_engine, tmp_path, monkeypatch, error) -> None:
    """The cure may be another config, whatever the error is called. A folder that was there stays."""
    (tmp_path / 'run').mkdir()
    file = run_file(tmp_path, dict(type='FineTune', **LORA))
    with monkeypatch.context() as patch:
        start_that_fails(error, patch, name='_start')
        with pytest.raises(type(error)):
            mini_engine.train(config(file, *QUICK), tmp_path / 'run')
    assert entries(tmp_path / 'run') == ['.lock']


def test_killed_while_it_is_undone(mini_engine, tmp_path, monkeypatch) -> None:
    """Half of it is still there, and the next start, of another config, begins anew."""
    file, remove = run_file(tmp_path, dict(type='FineTune', **LORA)), atomic.remove

    def die_at_the_stages(path: Path) -> None:
        if path.name == 'stages':
            raise Killed
        remove(path)

    with monkeypatch.context() as patch:
        start_that_fails(ConfigError('refused'), patch)
        patch.setattr(atomic, 'remove', die_at_the_stages)
        with pytest.raises(Killed):
            mini_engine.train(config(file, *QUICK), tmp_path / 'run')
    assert (tmp_path / 'run' / 'stages').exists() and events(tmp_path / 'run', 'run_refused')[0]['why'] == 'refused'
    mini_engine.train(config(file, *QUICK, 'methods.0.rank=2'), tmp_path / 'run')
    assert not events(tmp_path / 'run', 'run_refused') and len(events(tmp_path / 'run', 'run_started')) == 1
