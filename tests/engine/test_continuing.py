"""What may not happen to a run directory: two writers, another config, damage that goes unnoticed, a NaN that is saved."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coinkit.cli.main import main
from coinkit.engine import launch
from coinkit.engine.plan import show_plan
from coinkit.engine.run_dir import RunDir
from coinkit.errors import CoinkitError, ConfigError, DataError, Interrupted, RunError
from coinkit.nn.adapter_folder import load_adapter, save_adapter
from coinkit.testing import small_runs
from coinkit.testing.small_runs import adapter, differing, digest, events

ROOT = Path(__file__).resolve().parents[2]
STATEFUL = f'plugins={json.dumps([str(ROOT / "tests" / "kill" / "stateful.py")])}'
QUICK = ('evaluation.zero_shot=False', 'evaluation.limit=1', 'schedule.steps=2', 'checkpoint.every_steps=1')


def config(*more: str, tasks: tuple[str, ...] = ('TextVQA',)):
    return small_runs.config('finetune', *QUICK, *more, tasks=tasks)


@pytest.fixture
def run(mini_engine, tmp_path) -> Path:
    """A finished run of one task."""
    mini_engine.train(config(), tmp_path / 'run')
    return tmp_path / 'run'


def stop_inside(mini_engine, monkeypatch, folder: Path) -> Path:
    """A run stopped after its first step; returns its checkpoint."""
    from coinkit.engine.trainer import PhaseTrainer

    with monkeypatch.context() as patch:
        step = PhaseTrainer._step

        def ask(self, number, batches):
            step(self, number, batches)
            self.interrupt.requested = True

        patch.setattr(PhaseTrainer, '_step', ask)
        with pytest.raises(Interrupted, match='saved at step 1 of 2'):
            mini_engine.train(config(), folder)
    return folder / 'stages' / '01-textvqa' / 'checkpoint' / '0-fit-000001'


# --- one writer, one config ---------------------------------------------------------------------------------------


def test_a_changed_config_is_refused_with_the_difference(mini_engine, run) -> None:
    before = digest(run)
    with pytest.raises(ConfigError, match='started with another config') as refused:
        mini_engine.train(config('schedule.lr=1e-3', 'methods.0.rank=8', tasks=('GQA',)), run)
    text = str(refused.value)
    assert 'schedule.lr: 0.01 -> 0.001' in text and 'methods.0.rank: 16 -> 8' in text and 'GQA' in text
    assert '--work-dir' in text and '--fresh' in text and refused.value.exit_code == 2
    assert not differing(before, digest(run))
    mini_engine.train(config('checkpoint.every_steps=5', 'data.workers=1'), run)  # changes nothing that is learnt


def test_a_second_process_is_refused(mini_engine, run) -> None:
    script = f'from pathlib import Path\nfrom coinkit.engine.run_dir import RunDir\nRunDir(Path({str(run)!r})).lock()\n' \
             'print("held", flush=True)\ninput()\n'
    other = subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, 'PYTHONPATH': str(ROOT)})
    try:
        assert other.stdout.readline() == 'held\n'
        for options in ({}, {'fresh': True}):
            with pytest.raises(RunError, match='another process is running in this directory'):
                mini_engine.train(config(), run, **options)
        assert run.is_dir(), '--fresh does not move a run away under its writer'
    finally:
        other.communicate('\n')
    mini_engine.train(config(), run)


def test_a_refused_start_leaves_the_directory_free(mini_engine, run) -> None:
    with pytest.raises(ConfigError):
        mini_engine.train(config('schedule.lr=1e-3'), run)
    mini_engine.train(config(), run)


def test_fresh_keeps_the_old_run_aside(mini_engine, run) -> None:
    before = digest(run)
    mini_engine.train(config('schedule.lr=1e-3'), run, fresh=True)
    mini_engine.train(config('schedule.lr=1e-4'), run, fresh=True)
    kept = sorted(run.parent.glob('run.old-*'))
    assert len(kept) == 2 and digest(kept[0]) == before
    assert len(events(run, 'run_started')) == 1


def test_fresh_moves_nothing_when_the_new_run_could_not_start(mini_engine, run, tmp_path) -> None:
    with pytest.raises(ConfigError, match='does not exist'):
        mini_engine.train(config('init_from=nowhere'), run, fresh=True)
    foreign = tmp_path / 'photos'
    foreign.mkdir()
    (foreign / 'cat.jpg').touch()
    with pytest.raises(ConfigError, match='holds no coinkit run'):
        mini_engine.train(config(), foreign, fresh=True)
    assert (foreign / 'cat.jpg').exists() and run.is_dir() and not list(tmp_path.glob('*.old-*'))


def test_a_foreign_directory_is_refused(tmp_path) -> None:
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(ConfigError, match=r'not empty and holds no coinkit run.*--work-dir'):
        launch.train(config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_an_unwritable_directory_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / 'file').touch()
    for folder in (tmp_path / 'file', tmp_path / 'file' / 'run', Path('/proc/run')):
        with pytest.raises(ConfigError, match='--work-dir'):
            launch.train(config(), folder)
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    with pytest.raises(ConfigError, match='no permission in'):
        launch.train(config(), tmp_path / 'run')


def test_what_an_early_kill_leaves_is_continued(mini_engine, tmp_path) -> None:
    claimed = RunDir(tmp_path / 'run')
    claimed.lock()
    claimed.unlock()
    mini_engine.train(config(), tmp_path / 'run')
    assert events(tmp_path / 'run', 'run_done')


def test_a_run_needs_what_it_was_started_from_only_once(mini_engine, run, tmp_path) -> None:
    settings = config(f'init_from={run}')
    mini_engine.train(settings, tmp_path / 'second')
    shutil.rmtree(run)
    mini_engine.train(settings, tmp_path / 'second')
    with pytest.raises(ConfigError, match='does not exist'):
        mini_engine.train(settings, tmp_path / 'third')


def test_half_written_files_are_swept(mini_engine, run) -> None:
    for name in ('.matrix.json.tmp-1', 'figures/.curves.png.tmp-1', 'stages/01-textvqa/.adapter.del-1/card.json'):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    mini_engine.train(config(), run)
    assert [path.name for path in run.rglob('.*')] == ['.lock']


# --- damage -------------------------------------------------------------------------------------------------------


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize('name', ['trainable.safetensors', 'optimizer.safetensors', 'position.json', 'methods.json'])
def test_a_damaged_checkpoint_is_detected(mini_engine, tmp_path, monkeypatch, name: str) -> None:
    checkpoint = stop_inside(mini_engine, monkeypatch, tmp_path / 'run')
    damage(checkpoint / name)
    with pytest.raises(RunError, match=f'{name}: the content differs from what the ledger recorded.*--fresh'):
        mini_engine.train(config(), tmp_path / 'run')


def test_a_lost_checkpoint_is_detected(mini_engine, tmp_path, monkeypatch) -> None:
    shutil.rmtree(stop_inside(mini_engine, monkeypatch, tmp_path / 'run'))
    with pytest.raises(RunError, match='the ledger names this checkpoint and it is gone'):
        mini_engine.train(config(), tmp_path / 'run')


@pytest.mark.parametrize('damaged', [damage, Path.unlink])
def test_a_damaged_adapter_is_detected(mini_engine, run, damaged) -> None:
    damaged(run / 'stages' / '01-textvqa' / 'adapter' / 'adapter.safetensors')
    with pytest.raises(DataError, match='adapter.safetensors'):
        mini_engine.train(config(tasks=('TextVQA', 'GQA')), run)


def test_an_exchanged_adapter_is_detected(mini_engine, run) -> None:
    stages = run / 'stages'
    shutil.rmtree(stages / '01-textvqa' / 'adapter')
    shutil.copytree(stages / '00-zero-shot' / 'adapter', stages / '01-textvqa' / 'adapter')
    with pytest.raises(CoinkitError, match='01-textvqa.*differs from what the ledger recorded'):
        mini_engine.train(config(tasks=('TextVQA', 'GQA')), run)


def test_a_lost_adapter_is_detected(mini_engine, run) -> None:
    shutil.rmtree(run / 'stages' / '01-textvqa' / 'adapter')
    with pytest.raises(CoinkitError, match='01-textvqa'):
        mini_engine.train(config(tasks=('TextVQA', 'GQA')), run)


# --- a loss that is not a number ----------------------------------------------------------------------------------


def test_a_nan_stops_the_run_and_is_never_saved(mini_engine, tmp_path) -> None:
    run = tmp_path / 'run'
    methods = "methods=[{'type': 'FineTune', 'rank': 4, 'alpha': 8}, {'type': 'Diverges', 'task': 'GQA', 'at_step': 3}]"
    settings = config(STATEFUL, methods, 'schedule.steps=4', 'checkpoint.every_steps=2', tasks=('TextVQA', 'GQA'))
    for _ in range(2):  # the same command again fails in the same way, from the good checkpoint
        with pytest.raises(RunError, match='GQA, phase fit.*not finite since step 3 of 4.*0-fit-000002 is kept') as failed:
            mini_engine.train(settings, run)
        assert failed.value.exit_code == 1
        assert [path.name for path in (run / 'stages' / '02-gqa' / 'checkpoint').iterdir()] == ['0-fit-000002']
        assert not (run / 'stages' / '02-gqa' / 'adapter').exists()
        assert all(bool(value.isfinite().all()) for value in adapter(run, '01-textvqa').values())
        assert events(run, 'step_saved')[-1]['step'] == 2 and not events(run, 'run_done')
    assert all(record['loss'] == record['loss'] for record in small_runs.logged(run))


def test_a_nan_in_the_first_steps_names_the_end_of_the_stage_before(mini_engine, tmp_path) -> None:
    methods = "methods=[{'type': 'Diverges', 'task': 'TextVQA', 'at_step': 1}]"
    with pytest.raises(RunError, match='not finite since step 1 of 2; the end of the previous stage is kept'):
        mini_engine.train(config(STATEFUL, methods), tmp_path / 'run')


# --- answers ------------------------------------------------------------------------------------------------------


def test_answers_with_unicode_line_ends_are_scored(mini_engine, tmp_path, monkeypatch) -> None:
    from coinkit.backbones.llava import Llava

    monkeypatch.setattr(Llava, 'decode', lambda self, ids: 'one\x85two\u2028three')
    mini_engine.train(config(), tmp_path / 'run')
    raw = (tmp_path / 'run' / 'predictions' / '01-textvqa' / 'textvqa.jsonl').read_bytes()
    assert json.loads(raw)['prediction'] == 'one\x85two\u2028three'


# --- init_from ----------------------------------------------------------------------------------------------------


def refused_start(mini_engine, settings, folder: Path, capsys) -> str:
    """What the start of a run says; its plan says the same."""
    with pytest.raises(CoinkitError) as refused:
        mini_engine.train(settings, folder / 'new')
    capsys.readouterr()
    assert show_plan(settings, folder / 'plan') == 2
    said = capsys.readouterr().out
    assert str(refused.value) in said and 'Ready' not in said
    return str(refused.value)


@pytest.mark.parametrize(('method', 'message'), [
    ('{"type":"FineTune","rank":3}', r"block 'lora' has rank 16 and scale 2, this config asks for 3 and .*Give the method"),
    ('{"type":"OLoRA"}', r"holds the blocks 'lora', and this run's method trains 'task-1'.*export RUN --to peft"),
    ('{"type":"MRLoRA"}', r"holds the blocks 'lora', and this run's method trains 'expert', 'routing'. Start from a run"),
    ('{"type":"MoELoRA"}', r"blocks are gated by 'none', those of this run's method by 'softmax'. Use the method"),
    ('{"type":"FineTune","rank":16,"alpha":32,"targets":".*q_proj"}', 'adapts .* modules, this one .*Use the targets'),
    ('{"type":"FineTune","mode":"full"}', "has a LoRA bank and this run's method uses none. Use the method")])
def test_a_start_of_another_method_is_refused(mini_engine, run, tmp_path, capsys, method: str, message: str) -> None:
    said = refused_start(mini_engine, config(f'init_from={run}', f'methods=[{method}]'), tmp_path, capsys)
    assert said.startswith(f'init_from: {run}/stages/01-textvqa/adapter: ')
    assert re.search(message, said)


def test_a_start_of_another_backbone_is_refused(mini_engine, run, tmp_path, capsys) -> None:
    card = run / 'stages' / '01-textvqa' / 'adapter' / 'card.json'
    blob = json.loads(card.read_text())
    card.write_text(json.dumps({**blob, 'backbone': {**blob['backbone'], 'hidden_size': 4096}}))
    said = refused_start(mini_engine, config(f'init_from={run}'), tmp_path, capsys)
    assert 'made on another backbone: hidden_size 4096 instead of 256. Use the backbone it was made on.' in said
    assert show_plan(config(), run) == 0, 'the run that made it'


def test_a_tensor_of_another_shape_is_refused(mini_engine, tmp_path, capsys) -> None:
    settings = config('methods.0.train_projector=True')
    mini_engine.train(settings, tmp_path / 'run')
    folder = tmp_path / 'run' / 'stages' / '01-textvqa' / 'adapter'
    values, card = load_adapter(folder)
    name = next(name for name in values if 'projector' in name and name.endswith('weight'))
    save_adapter(folder, {**values, name: values[name][:, :-1]}, card)
    said = refused_start(mini_engine, config('methods.0.train_projector=True', f'init_from={tmp_path / "run"}'), tmp_path,
                         capsys)
    assert name.removeprefix('model.') in said and 'has shape' in said and 'Use the backbone it was made on' in said


def test_a_peft_folder_of_other_modules_is_refused(mini_engine, run, tmp_path, capsys) -> None:
    assert main(['export', str(run), '--to', 'peft', '--out', str(tmp_path / 'peft')]) == 0
    start = f'init_from={tmp_path / "peft"}'
    said = refused_start(mini_engine, config(start, 'methods.0.targets=.*q_proj'), tmp_path, capsys)
    assert f'init_from: {tmp_path / "peft"}: adapts' in said
    assert show_plan(config(start, 'methods.0.rank=3'), tmp_path / 'fits') == 0, 'its rank is its own'


def test_a_plan_of_a_run_that_has_begun_needs_no_source(mini_engine, run, tmp_path) -> None:
    settings = config(f'init_from={run}')
    mini_engine.train(settings, tmp_path / 'second')
    shutil.rmtree(run)
    assert show_plan(settings, tmp_path / 'second') == 0 and show_plan(settings, tmp_path / 'third') == 2


# --- data ---------------------------------------------------------------------------------------------------------


def test_training_data_that_changed_inside_a_stage_is_refused(mini_engine, run, tmp_path) -> None:
    copy = tmp_path / 'copy'
    shutil.copytree(run, copy)
    lines = (copy / 'ledger.jsonl').read_text().splitlines(keepends=True)
    started = next(i for i, line in enumerate(lines) if json.loads(line)['event'] == 'stage_started')
    record = {**json.loads(lines[started]), 'data': 'other'}
    (copy / 'ledger.jsonl').write_text(''.join(lines[:started]) + json.dumps(record) + '\n')
    with pytest.raises(RunError, match='the training data changed'):
        mini_engine.train(config(), copy)
