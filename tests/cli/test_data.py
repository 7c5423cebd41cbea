"""`coinkit data`: made copies of every benchmark's files, what is printed, and the exit status."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coinkit.cli.main import main
from coinkit.testing import layouts

TOOL = Path(__file__).parents[2] / 'tools' / 'prepare_data.py'
MAKE = {'coin': layouts.make_coin, 'coin_refined': layouts.make_coin_refined, 'mllm_cl_domain': layouts.make_mllm_cl_domain,
        'mllm_cl_ability': layouts.make_mllm_cl_ability, 'ucit': layouts.make_ucit}


def line(split: str, name: object, question: str) -> str:
    """A row of the split, as a line of its file."""
    turns = [{'from': 'human', 'value': question}, {'from': 'gpt', 'value': '2'}]
    row = {'conversations': turns} if split == 'train' else {'text': question, 'answer': '2'}
    return json.dumps({'id': name, **row}) + '\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def run(*words) -> int:
    return main(['data', *map(str, words), '--workers', '1'])


@pytest.mark.parametrize('name', MAKE)
def test_a_made_copy_of_every_benchmark_is_ready(name, tmp_path, capsys):
    MAKE[name](tmp_path / 'data', rows=4)
    assert run(name, '--root', tmp_path / 'data', '--check') == 0, capsys.readouterr().out
    assert f'\nready: {name}' in capsys.readouterr().out
    assert not list(tmp_path.rglob('*.coinkit-index'))


def test_styles_have_their_own_files(tmp_path, capsys):
    layouts.make_coin(tmp_path, rows=2, style='diverse')
    assert run('coin', '--root', tmp_path, '--check', '--tasks', 'GQA') == 1
    assert run('coin', '--root', tmp_path, '--check', '--tasks', 'GQA', '--style', 'diverse') == 0
    assert 'Instructions_Diverse/GQA/train.json' in capsys.readouterr().out
    assert run('coin', '--root', tmp_path, '--style', 'divers') == 2
    assert "Did you mean 'diverse'?" in capsys.readouterr().err


def test_what_is_missing_is_the_exact_list(tmp_path, capsys):
    layouts.make_coin(tmp_path, rows=2)
    (tmp_path / 'playground/Instructions_Original/GQA/test.json').unlink()
    picture = next((tmp_path / 'cl_dataset/TextVQA/train_images').iterdir())
    picture.unlink()
    assert run('coin', '--root', tmp_path, '--json', tmp_path / 'out' / 'found.json') == 1
    out = capsys.readouterr().out
    tail = out[out.index('not ready:'):]
    assert re.search(r'Instructions_Original/GQA/test\.json: there is no such file, nor .*Instruction_Original/GQA/'
                     r'test\.json.* Get it from the Hugging Face dataset Zacks-Chen/CoIN', tail)
    assert picture.name in tail and '2 to mend' in tail
    blob = json.loads((tmp_path / 'out' / 'found.json').read_text())
    assert not blob['ready'] and {each['kind'] for each in blob['findings'] if each['level'] == 'fault'} == {
        'missing_file', 'missing_image'}


def test_an_empty_root_tells_everything_at_once(tmp_path, capsys):
    assert run('ucit', '--root', tmp_path / 'none') == 1
    out = capsys.readouterr().out
    assert 'HaiyangGuo/UCIT' in out and not (tmp_path / 'none').exists()
    assert out.count('there is no such file') >= 12


def test_the_mini_stream_needs_nothing(tmp_path, capsys):
    assert run('mini', '--tasks', 'GQA', '--verify', 'none', '--root', tmp_path) == 0
    assert 'Mini (GQA train)' in capsys.readouterr().out


def test_a_folder_of_ones_own_and_a_run_config(tmp_path, capsys):
    folder = tmp_path / 'mine' / 'birds'
    folder.mkdir(parents=True)
    for split in ('train', 'test'):
        (folder / f'{split}.jsonl').write_text(line(split, split, 'Sum?'))
    config = tmp_path / 'my.py'
    config.write_text("benchmark = dict(name='my', tasks=[dict(folder='birds', metric=dict(type='gqa'))])\n"
                      f"data = dict(root={str(tmp_path / 'mine')!r})\n")
    assert run(config) == 0 and 'ready: my' in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} >= {'train.jsonl.coinkit-index', 'test.jsonl.coinkit-index'}
    assert run('mini/finetune', '--tasks', 'GQA', '--verify', 'none') == 0


def test_refcoco_from_its_original_files(tmp_path, capsys):
    layouts.make_refcoco(tmp_path / 'data', rows=4)
    config = tmp_path / 'ref.py'
    config.write_text(
        "_one = dict(type='RefCOCO', path='cl_dataset/refcoco', image_root='cl_dataset/COCO2014/train2014')\n"
        "benchmark = dict(name='ref', tasks=[dict(name='R', metric=dict(type='grounding_coin'),\n"
        "    train=dict(_one, split='train'), test=dict(_one, split='testA'))])\n")
    assert run(config, '--root', tmp_path / 'data') == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert 'RefCOCO (R train)' in out and 'refs(unc).p' in out
    (tmp_path / 'data/cl_dataset/refcoco/instances.json').unlink()
    assert run(config, '--root', tmp_path / 'data') == 1
    out = capsys.readouterr().out
    assert 'instances.json: there is no such file' in out and '1 to mend' in out


@pytest.mark.parametrize('words, message', [
    (['coinn'], "no such benchmark.*Did you mean 'coin'"), (['coin', '--tasks', 'GQQA'], "unknown task 'GQQA'.*'GQA'"),
    (['coin', '--check', '--download'], 'given together'), (['coin', '--cfg-options', 'data.rot=x'], "unknown key 'rot'"),
    (['coin', '--verify', 'some'], 'invalid choice'), (['coin', '--workers', '0'], 'whole number from 1'),
    ([], 'BENCHMARK')])
def test_wrong_usage_is_status_2(words, message, capsys):
    assert main(['data', *words]) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)


def test_download_fetches_what_the_config_names(tmp_path, monkeypatch, capsys):
    import huggingface_hub

    asked = []

    def snapshot_download(repo, *, local_dir, **given):
        asked.append((repo, given['revision'], given['allow_patterns']))
        (Path(local_dir) / 'train.jsonl').write_text(line('train', 1, 'Sum?'))
        (Path(local_dir) / 'test.jsonl').write_text(line('test', 2, 'Sum of all?'))
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_tree', lambda *args, **given: [])
    config = tmp_path / 'my.py'
    config.write_text("benchmark = dict(name='my', tasks=[dict(folder='birds', metric=dict(type='gqa'))],\n"
                      "                 downloads=[dict(repo='me/birds', files=['*.jsonl'], to='birds', revision='v1')])\n")
    assert run(config, '--root', tmp_path / 'd') == 1 and not asked  # only when asked
    assert run(config, '--root', tmp_path / 'd', '--download') == 0
    assert asked == [('me/birds', 'v1', ['*.jsonl'])] and 'ready: my' in capsys.readouterr().out


def test_a_failed_download_is_told_and_status_1(tmp_path, monkeypatch, capsys):
    import huggingface_hub

    def fail(*args, **given):
        raise ConnectionError('no route to host')
    monkeypatch.setattr(huggingface_hub.HfApi, 'list_repo_tree', fail)
    assert run('coin', '--root', tmp_path, '--style', 'diverse', '--download') == 1
    assert 'Zacks-Chen/CoIN: fetching stopped (no route to host)' in capsys.readouterr().err


def test_ctrl_c_is_130_and_what_is_done_stays(tmp_path):
    """Stopped while it decodes; the same command then goes to its end."""
    folder = tmp_path / 'slow'
    folder.mkdir()
    for split in ('train', 'test'):
        (folder / f'{split}.jsonl').write_text(''.join(
            line(split, f'{split}{i}', f'{split} {i}?') for i in range(1000)))
    (tmp_path / 'plug.py').write_text(
        'import time\nfrom coinkit.datasets.folder import Folder\n'
        'class Slow(Folder):\n    """A slow folder."""\n    inventory = None\n'
        '    def __getitem__(self, index):\n        time.sleep(0.05)\n        return super().__getitem__(index)\n'
        'def coinkit_register(registries):\n    registries.DATASETS.add("Slow", Slow)\n')
    (tmp_path / 'my.py').write_text(
        "benchmark = dict(name='my', tasks=[dict(name='S', metric=dict(type='gqa'),\n"
        "    train=dict(type='Slow', path='slow', split='train'), test=dict(type='Slow', path='slow', split='test'))])\n"
        f"data = dict(root={str(tmp_path)!r})\nplugins = ['plug.py']\n")
    process = subprocess.Popen([sys.executable, str(TOOL), str(tmp_path / 'my.py')], stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    index = folder / 'test.jsonl.coinkit-index'
    deadline = time.monotonic() + 60
    while not index.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert 'the same command goes on' in error and index.exists()


def test_it_imports_no_torch(tmp_path):
    code = ('import sys; from coinkit.cli.main import main;'
            f'main(["data", "coin", "--root", {str(tmp_path)!r}, "--check"]);'
            'assert not {"torch", "transformers"} & sys.modules.keys()')
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_converting_is_a_verb_of_its_own(capsys):
    assert main(['data', 'convert', '--help']) == 0
    assert 'usage: coinkit data convert' in capsys.readouterr().out


def test_a_place_for_the_findings_that_cannot_be_written_is_told_first(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    for place, why in ((tmp_path / 'file/findings.json', 'is no folder'), (tmp_path, 'it is a folder')):
        assert run('mini', '--json', place) == 2
        told = capsys.readouterr()
        assert why in told.err and 'looked at' not in told.out


def test_no_task_is_not_all_tasks(capsys):
    assert run('mini', '--tasks', '') == 2
    assert "unknown task ''" in capsys.readouterr().err
