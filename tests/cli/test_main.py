"""The command line as a user meets it: light, clear, with the promised exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coinkit.cli import main as command
from coinkit.cli.main import VERBS, main
from coinkit.errors import Interrupted, RunError
from coinkit.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[2]
LIGHT = [['--help'], ['list'], ['list', 'methods'], ['plugins'], ['score', '--help'], ['analyze', '--help'],
         ['train', '--help'], ['test', '--help']]


@pytest.fixture(autouse=True)
def fresh_plugins():
    yield
    load_plugins()


@pytest.mark.parametrize('arguments', LIGHT, ids=' '.join)
def test_no_torch(arguments: list[str]) -> None:
    code = f'import sys\nfrom coinkit.cli.main import main\nstatus = main({arguments!r})\n' \
           'heavy = {"torch", "transformers", "peft", "deepspeed", "matplotlib"} & sys.modules.keys()\n' \
           'sys.exit(f"imported {heavy}" if heavy else status)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 'usage' in done.stdout or '│' in done.stdout


def test_help_does_not_even_import_mmengine() -> None:
    code = 'import sys; from coinkit.cli.main import main; main(["--help"]); sys.exit("mmengine" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, cwd=ROOT).returncode == 0


def test_help_tells_every_verb_and_every_verb_has_its_module(capsys) -> None:
    assert main(['--help']) == 0
    text = capsys.readouterr().out
    for verb, (module, help_line) in VERBS.items():
        assert f'  {verb} ' in text and help_line in text
        assert (ROOT / 'coinkit' / 'cli' / f'{module}.py').is_file()


def test_without_arguments_it_is_wrong_usage(capsys) -> None:
    assert main([]) == 2
    assert 'usage' in capsys.readouterr().out


def test_an_unknown_verb_names_the_nearest(capsys) -> None:
    assert main(['trian']) == 2
    assert "unknown verb 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def test_wrong_options_exit_2(capsys) -> None:
    assert main(['list', '--colour']) == 2
    assert '--colour' in capsys.readouterr().err


@pytest.mark.parametrize(('error', 'status', 'words'), [
    (RunError('no'), 1, 'coinkit list: no'), (Interrupted('saved'), 130, 'saved'),
    (KeyboardInterrupt(), 130, 'interrupted')])
def test_errors_become_a_message_and_a_status(monkeypatch, capsys, error, status: int, words: str) -> None:
    from coinkit.cli import listing

    def fail(args):
        raise error

    monkeypatch.setattr(listing, 'main', fail)
    assert main(['list']) == status
    assert words in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch) -> None:
    from coinkit.cli import listing

    monkeypatch.setattr(listing, 'main', lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(['list'])


def test_list_shows_components_with_provider_and_configs(capsys) -> None:
    assert main(['list']) == 0
    text = capsys.readouterr().out
    for words in ('MoELoRA', 'Llava', 'scienceqa_coin', 'the same as grounding_coin', 'mini/finetune', 'coinkit'):
        assert words in text
    assert main(['list', 'metods']) == 2
    assert "Did you mean 'methods'?" in capsys.readouterr().err


def test_plugins_tells_name_version_file_and_components(tmp_path, capsys) -> None:
    path = tmp_path / 'shout.py'
    path.write_text('class Shout: ...\n\n\ndef coinkit_register(registries):\n'
                    "    registries.METHODS.add('Shout', f'{__name__}:Shout')\n")
    assert main(['plugins', '--plugin', str(path), '--format', 'json']) == 0
    rows = {row['name']: row for row in json.loads(capsys.readouterr().out)}
    assert rows['shout']['components'] == {'method': ['Shout']}
    assert rows['coinkit']['version'] and rows['coinkit']['sha256']
    assert main(['plugins', '--plugin', str(path)]) == 0
    assert 'method Shout' in capsys.readouterr().out
    assert main(['plugins', '--no-plugin', 'nobody']) == 2


def test_doctor_names_what_is_missing_and_its_cure(monkeypatch, capsys) -> None:
    from coinkit.cli import doctor

    assert main(['doctor']) == 0
    assert 'Everything that a run needs is here.' in capsys.readouterr().out
    monkeypatch.setattr(doctor, 'REQUIRED', ('surely-not-installed',))
    assert main(['doctor']) == 1
    text = capsys.readouterr().out
    assert 'pip install -c constraints.txt surely-not-installed' in text
    assert 'Missing: surely-not-installed.' in text


@pytest.mark.parametrize('door', ['train', 'test', 'score', 'export', 'analyze_forgetting'])
def test_the_doors_in_tools_work_from_anywhere_without_installation(door: str, tmp_path) -> None:
    command = [sys.executable, str(ROOT / 'tools' / f'{door}.py'), '--help']
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={'PATH': '/usr/bin:/bin'})
    assert done.returncode == 0, done.stderr
    assert f'usage: tools/{door}.py' in done.stdout


def test_python_m_coinkit() -> None:
    done = subprocess.run([sys.executable, '-m', 'coinkit', '--version'], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == f'coinkit {command.coinkit.__version__}'


@pytest.mark.parametrize(('processes', 'taken_down'), [('1', 'yes'), ('2', '')])
def test_one_process_of_several_ends_at_once(processes, taken_down) -> None:
    """Nothing of Python's own ending runs, which a library's thread could turn into an abort; what was written is there."""
    code = ('import atexit, sys; from coinkit.cli.main import leave; atexit.register(lambda: sys.stdout.write("yes"));'
            'sys.stderr.write("written"); leave(3)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, 'WORLD_SIZE': processes}, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, taken_down, 'written')
