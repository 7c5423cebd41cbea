"""Every kind of bad input gets its clear error before any compute: where, what was given, what is allowed, the cure.

Through the real command, in this process; the backbone must never be built.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from coinkit.cli.main import main
from coinkit.plugins import load_plugins
from coinkit.registry import BACKBONES
from coinkit.testing import small_runs
from coinkit.testing.faults import Killed

CONFIG = '''
_base_ = ['coinkit::_base_/backbones/llava_mini.py', 'coinkit::_base_/schedules/mini.py']
methods = [dict(type='FineTune', rank=4, alpha=8)]
data = dict(root='DATA', workers=0)
device = 'cpu'
benchmark = dict(name='own', tasks=[dict(
    name='Birds',
    train=dict(type='InstructionJson', path='train.json', image_root='images'),
    test=dict(type='InstructionJson', path='test.jsonl', image_root='images'),
    metric=dict(type='vqa_exact_upper'),
    generation=dict(max_new_tokens=4))])
'''


def train_row(number: int) -> dict:
    return {'id': f'a{number}', 'image': 'bird.png', 'conversations': [
        {'from': 'human', 'value': '<image>\nWhich bird?'}, {'from': 'gpt', 'value': 'Tit'}]}


def test_row(number: int) -> dict:
    return {'question_id': f'q{number}', 'image': 'bird.png', 'text': 'Which bird?', 'answer': 'Tit'}


test_row.__test__ = False


@pytest.fixture(autouse=True)
def no_compute(monkeypatch):
    """Whatever is wrong is found before a model is built. Plug-ins of one test do not reach the next."""
    def build(*args, **kwargs):
        raise AssertionError('a backbone is built')

    monkeypatch.setattr(BACKBONES, 'build', build)
    load_plugins()
    yield
    load_plugins()


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A folder with a config and data of its own, all of it right; the working directory."""
    (tmp_path / 'data' / 'images').mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'data' / 'images' / 'bird.png')
    write_rows(tmp_path, [train_row(number) for number in range(4)])
    (tmp_path / 'data' / 'test.jsonl').write_text(''.join(json.dumps(test_row(number)) + '\n' for number in range(2)))
    (tmp_path / 'own.py').write_text(CONFIG.replace('DATA', str(tmp_path / 'data')))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_rows(folder: Path, rows: list[dict]) -> None:
    (folder / 'data' / 'train.json').write_text(json.dumps(rows))


def refused(capsys, *arguments: str, status: int = 2) -> str:
    """The error of a `coinkit train` that must fail so; nothing may be left behind."""
    assert main(['train', *arguments]) == status
    written = capsys.readouterr()
    assert 'Traceback' not in written.err or 'plug-in' in written.err
    assert written.err.startswith('coinkit train: ')
    assert not Path('work_dirs').exists(), 'a refused run leaves no directory'
    return ' '.join(written.err.split())


def test_the_files_are_right_to_begin_with(files, capsys) -> None:
    with pytest.raises(AssertionError, match='a backbone is built'):
        main(['train', 'own.py'])
    capsys.readouterr()


# --- configs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('option', 'words'), [
    ('schedul.lr=1', ["--cfg-options: schedul: unknown key 'schedul'", "Did you mean 'schedule'?"]),
    ('schedule.learnig_rate=1', ["schedule.learnig_rate: unknown key 'learnig_rate'", 'Allowed: ']),
    ('schedule.lr=fast', ["--cfg-options: schedule.lr: given 'fast' (str), allowed: a number, above 0"]),
    ('schedule.lr=-1', ['schedule.lr: given -1 (int), allowed: a number, above 0']),
    ('methods.0.type=FineTun', ["methods.0.type: unknown method 'FineTun'", "Did you mean 'FineTune'?"]),
    ('methods.0.rnk=8', ["methods.0.rnk: unknown argument of method 'FineTune': 'rnk'", "Did you mean 'rank'?"]),
    ('methods.0.rank=eight', ["methods.0.rank: given 'eight' (str), allowed: a whole number"]),
    ('methods.0.rank=0', ['rank: 0 given, at least 1 allowed']),
    ('methods.0.train_vision=true', ["True given with mode='lora'", "Set mode='full'"]),
    ('methods.0.dropout=1.5', ['dropout: 1.5 given, 0 <= dropout < 1 allowed']),
    ('backbone.type=Lava', ["backbone.type: unknown backbone 'Lava'", "Did you mean 'Llava'?"]),
    ('backbone.checkpoint=nowhere/llava', ['nowhere/llava', '--mini']),
    ('benchmark.tasks.0.train.kind=textvq', ["unknown kind 'textvq'", "Did you mean 'textvqa'?"]),
    ('benchmark.tasks.0.metric.type=vqa', ["benchmark.tasks.0.metric.type: unknown metric 'vqa'", 'Allowed: ']),
    ('tasks=["GQ"]', ["tasks: unknown task 'GQ'", "Did you mean 'GQA'?"]),
    ('order=backwards', ["order: unknown order 'backwards'", 'Allowed: alphabet, reverse']),
    ('strategy.type=DeepSped', ["strategy.type: unknown strategy 'DeepSped'", "Did you mean 'DeepSpeed'?"]),
    ('init_from=nowhere', ["init_from: 'nowhere' does not exist", "Give 'RUN', 'RUN:stage' or a PEFT folder"]),
    ('schedule.lr', ["given 'schedule.lr', allowed: key=value"]),
], ids=lambda value: value if isinstance(value, str) else '')
def test_a_wrong_key_or_value(files, capsys, option: str, words: list[str]) -> None:
    text = refused(capsys, 'mini/finetune', '--cfg-options', option)
    assert all(word in text for word in words), text


def test_all_problems_are_told_at_once(files, capsys) -> None:
    text = refused(capsys, 'mini/finetune', '--cfg-options', 'schedule.lr=fast', 'methods.0.rnk=8', 'sed=1')
    assert '3 problems' in text and all(word in text for word in ('schedule.lr', 'methods.0.rnk', "'sed'"))


def test_a_config_that_does_not_exist(files, capsys) -> None:
    assert "Did you mean 'mini/finetune'?" in refused(capsys, 'mini/finetun')
    assert 'there is no such config file, nor a shipped config' in refused(capsys, './mine.py')


@pytest.mark.parametrize(('line', 'words'), [
    ('schedule = dict(lr=', ['broken.py: line', 'never closed']),
    ('schedule = dict(lr=1 / 0)', ['broken.py: line 2', 'ZeroDivisionError', 'schedule = dict(lr=1 / 0)']),
    ('import nowhere', ['broken.py: line 2', "No module named 'nowhere'"]),
])
def test_broken_python_in_a_config(files, capsys, line: str, words: list[str]) -> None:
    (files / 'broken.py').write_text(f"_base_ = 'coinkit::mini/finetune.py'\n{line}\n")
    text = refused(capsys, 'broken.py')
    assert all(word in text for word in words), text


# --- data ---------------------------------------------------------------------------------------------------------


def test_a_missing_data_file(files, capsys) -> None:
    (files / 'data' / 'train.json').unlink()
    text = refused(capsys, 'own.py')
    assert 'data/train.json: there is no such file.' in text and 'data.root' in text and '--mini' in text


def test_all_missing_files_are_told_at_once(files, capsys) -> None:
    text = refused(capsys, 'own.py', '--cfg-options', 'data.root=elsewhere', 'backbone.checkpoint=nowhere/llava')
    assert all(word in text for word in ('elsewhere/train.json', 'elsewhere/test.jsonl', 'nowhere/llava'))


def test_a_missing_image_folder_or_picture(files, capsys) -> None:
    (files / 'data' / 'images' / 'bird.png').rename(files / 'data' / 'images' / 'fish.png')
    text = refused(capsys, 'own.py')
    assert "train.json: 1 of 1 images are not in" in text and "'bird.png' (record 0)" in text and "on_bad_image" in text
    (files / 'data' / 'images' / 'fish.png').unlink()
    (files / 'data' / 'images').rmdir()
    assert 'image folder' in refused(capsys, 'own.py')
    assert 'image folder' in refused(capsys, 'own.py', '--cfg-options', 'data.on_bad_image=skip')


@pytest.mark.parametrize(('content', 'words'), [
    ('[]', ['train.json: holds no records']),
    ('', ['train.json']),
    (json.dumps([train_row(0), train_row(1)])[:-40], ['train.json']),
    ('{"a": 1', ['train.json']),
    (json.dumps([train_row(0), {**train_row(1), 'conversations': train_row(1)['conversations'][:1]}]),
     ["train.json: record 1 (id 'a1'): has no answer: its last turn is not from gpt."]),
    (json.dumps([train_row(0), train_row(0)]), ["record 1 (id 'a0'): has the id of record 0"]),
    (json.dumps([{**train_row(0), 'id': None}]), ["record 0: has no 'id'"]),
    (json.dumps([{**train_row(0), 'image': '../../etc/passwd'}]), ['record 0', '../../etc/passwd']),
], ids=['empty list', 'empty file', 'truncated list', 'truncated record', 'no answer', 'duplicate id', 'no id', 'outside'])
def test_a_wrong_data_file(files, capsys, content: str, words: list[str]) -> None:
    (files / 'data' / 'train.json').write_text(content)
    text = refused(capsys, 'own.py')
    assert all(word in text for word in words), text


def test_a_test_row_without_answer(files, capsys) -> None:
    (files / 'data' / 'test.jsonl').write_text(json.dumps({**test_row(0), 'answer': None}) + '\n')
    assert "test.jsonl: record 0 (id 'q0'): has no answer" in refused(capsys, 'own.py')


# --- run directories ----------------------------------------------------------------------------------------------


def test_a_foreign_or_unwritable_work_dir(files, capsys) -> None:
    text = refused(capsys, 'own.py', '--work-dir', 'data')
    assert 'data: the directory is not empty and holds no coinkit run (no ledger.jsonl). Choose another' in text
    assert 'own.py: the work directory is a file' in refused(capsys, 'own.py', '--work-dir', 'own.py')
    assert 'own.py is a file' in refused(capsys, 'own.py', '--work-dir', 'own.py/run')
    assert '/proc/run: cannot be written' in refused(capsys, 'own.py', '--work-dir', '/proc/run')
    text = refused(capsys, 'own.py', '--work-dir', 'data', '--cfg-options', 'seeds=[0,1]')
    assert 'data: the directory is not empty and holds no coinkit run' in text
    Path('one').mkdir()
    Path('one/ledger.jsonl').touch()
    text = refused(capsys, 'own.py', '--work-dir', 'one', '--cfg-options', 'seeds=[0,1]')
    assert 'one: the directory holds a run that was started without seeds or orders' in text


def test_init_from_a_stage_that_is_not_there(files, capsys) -> None:
    Path('old').mkdir()
    Path('old/ledger.jsonl').write_text('{"event": "stage_done", "stage": "00-zero-shot"}\n')
    text = refused(capsys, 'own.py', '--cfg-options', 'init_from=old:7')
    assert "init_from: 'old:7'" in text and "unknown stage '7'" in text and '00-zero-shot' in text
    assert 'stage 00-zero-shot has no adapter' in refused(capsys, 'own.py', '--cfg-options', 'init_from=old')


def test_a_changed_config_in_a_used_work_dir(files, capsys, monkeypatch) -> None:
    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(BACKBONES, 'build', die)
    with pytest.raises(Killed):
        main(['train', 'own.py', '--work-dir', 'used'])
    capsys.readouterr()
    text = refused(capsys, 'own.py', '--work-dir', 'used', '--cfg-options', 'schedule.lr=1e-5', 'seed=7')
    assert 'used was started with another config' in text and '--fresh' in text
    assert 'schedule.lr: 0.002 -> 1e-05' in text and 'seed: 0 -> 7' in text


# --- plug-ins -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('code', 'words'), [
    ('import nowhere\n', ["plug-in 'mine'", "No module named 'nowhere'", '--no-plugin mine']),
    ('def coinkit_begin_tusk(state): ...\n', ["plug-in 'mine'", "unknown hook 'coinkit_begin_tusk'",
                                             "Did you mean 'coinkit_begin_task'?"]),
    ('def coinkit_begin_task(sate): ...\n', ["hook 'coinkit_begin_task' has no argument 'sate'", "Did you mean 'state'?"]),
    ("def coinkit_register(registries):\n    registries.METHODS.add('FineTune', 'a:B')\n",
     ["'FineTune'", 'coinkit', 'mine', 'Rename one, or disable one']),
    ('x = 1\n', ["plug-in 'mine'", 'would do nothing']),
], ids=['import', 'misspelt hook', 'misspelt argument', 'taken name', 'empty'])
def test_a_wrong_plugin(files, capsys, code: str, words: list[str]) -> None:
    (files / 'mine.py').write_text(code)
    for arguments in (['--plugin', 'mine.py'], ['--cfg-options', f'plugins=["{files}/mine.py"]']):
        text = refused(capsys, 'mini/finetune', *arguments)
        assert all(word in text for word in words), text


def test_a_plugin_that_is_not_there(files, capsys) -> None:
    assert 'mine.py' in refused(capsys, 'mini/finetune', '--plugin', 'mine.py')
    assert "No module named 'nowhere_at_all'" in refused(capsys, 'mini/finetune', '--plugin', 'nowhere_at_all')


# --- failures while running ---------------------------------------------------------------------------------------


def test_a_nan_loss_exits_1_and_names_the_step(files, capsys, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(files)
    plugin = Path(__file__).resolve().parents[1] / 'kill' / 'stateful.py'
    methods = "methods=[{'type': 'Diverges', 'task': 'TextVQA', 'at_step': 2}]"
    status = main(['train', 'mini/finetune', '--plugin', str(plugin), '--cfg-options',
                   *small_runs.options(methods, 'evaluation.zero_shot=False', 'checkpoint.every_steps=1')])
    text = ' '.join(capsys.readouterr().err.split())
    assert status == 1
    assert 'TextVQA, phase fit: the loss or its gradient is not finite since step 2 of 3' in text
    assert '0-fit-000001 is kept' in text and 'schedule.lr' in text
