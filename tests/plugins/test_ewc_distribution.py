"""coinkit and coinkit-ewc as a user gets them: two wheels in a clean environment, used from an empty directory.

torch and the other dependencies are those of the environment that runs the tests; coinkit itself must be the wheel's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from coinkit.plugins.sources import hash_source

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = ('coinkit', 'configs', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE')
CONFIG = '''
_base_ = ['coinkit::_base_/backbones/llava_mini.py', 'coinkit::_base_/schedules/mini.py']
methods = [dict(type='EWC')]


def _task(name, kind, metric):
    return dict(name=name, train=dict(type='Mini', kind=kind, size=4), test=dict(type='Mini', kind=kind, size=2),
                metric=dict(type=metric), generation=dict(max_new_tokens=4))


benchmark = dict(name='two', tasks=[_task('ScienceQA', 'scienceqa', 'scienceqa_coin'),
                                    _task('TextVQA', 'textvqa', 'textvqa_m4c')])
schedule = dict(steps=2, global_batch_size=2, micro_batch_size=2)
device = 'cpu'
'''


@dataclass(frozen=True)
class Installed:
    """A virtual environment with both wheels, and an empty directory to work in."""

    venv: Path
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program = str(self.venv / 'bin' / command[0])
        return subprocess.run([program, *command[1:]], cwd=self.folder, env=self.environment, capture_output=True,
                              text=True, timeout=600)

    def output(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, source: Path, wheels: Path) -> None:
        """Build a wheel without a network and install it alone."""
        wheels.mkdir()
        pip(['wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w', str(wheels), str(source)])
        pip(['--python', str(self.venv / 'bin' / 'python'), 'install', '--no-deps', '--no-index',
             *map(str, wheels.glob('*.whl'))])


def pip(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, '-m', 'pip', '--disable-pip-version-check', *arguments], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def copy_sources(target: Path) -> Path:
    """What the wheel is built from, so that building leaves nothing behind in the checkout."""
    target.mkdir()
    unwanted = shutil.ignore_patterns('__pycache__', '*.egg-info', 'build')
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(source, target)
    return target


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp('clean')
    venv.create(base / 'venv', with_pip=False, symlinks=True)
    site = next((base / 'venv').glob('lib/python*/site-packages'))
    (site / 'dependencies.pth').write_text(sysconfig.get_path('purelib') + '\n')
    (base / 'empty').mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(('PYTHON', 'COINKIT'))}
    made = Installed(base / 'venv', base / 'empty', {**kept, 'OMP_NUM_THREADS': '1'})
    made.install(copy_sources(base / 'source'), base / 'wheel')
    shutil.copytree(ROOT / 'plugins' / 'coinkit-ewc', base / 'source-ewc', ignore=shutil.ignore_patterns('__pycache__'))
    made.install(base / 'source-ewc', base / 'wheel-ewc')
    return made


@pytest.fixture(scope='module')
def trained(installed: Installed) -> Path:
    """The run directory of two mini tasks; the config names only `type='EWC'`."""
    (installed.folder / 'my_config.py').write_text(CONFIG)
    installed.output('coinkit', 'train', 'my_config.py')
    return installed.folder / 'work_dirs' / 'my_config'


def test_both_come_from_their_wheels(installed: Installed) -> None:
    code = 'import coinkit, coinkit_ewc, torch; print(coinkit.__file__, coinkit_ewc.__file__, torch.__file__)'
    ours, plugin, torch_file = installed.output('python', '-c', code).split()
    assert Path(ours).is_relative_to(installed.venv) and Path(plugin).is_relative_to(installed.venv)
    assert not Path(torch_file).is_relative_to(installed.venv)


def test_plugins_and_list_show_it(installed: Installed) -> None:
    rows = {row['name']: row for row in json.loads(installed.output('coinkit', 'plugins', '--format', 'json'))}
    assert rows['ewc']['version'] == '0.1.0' and rows['ewc']['components'] == {'method': ['EWC']}
    assert rows['ewc']['source'] == 'coinkit_ewc'
    assert Path(rows['ewc']['file']).is_relative_to(installed.venv)
    text = installed.output('coinkit', 'list', 'methods')
    line = next(line for line in text.splitlines() if 'EWC' in line)
    assert 'ewc' in line and 'quadratic penalty' in line


def test_shipped_configs_are_found_by_name_from_an_empty_directory(installed: Installed) -> None:
    assert 'Ready' in installed.output('coinkit', 'train', 'mini/finetune', '--dry-run')
    assert 'mini/finetune' in installed.output('coinkit', 'list', 'configs')


def test_two_tasks_are_trained_and_scored(trained: Path) -> None:
    matrix = json.loads((trained / 'matrix.json').read_text())
    assert matrix['schema'] == 'coinkit.matrix/1' and matrix['tasks'] == ['ScienceQA', 'TextVQA']
    assert [[score is None for score in row] for row in matrix['scores']] == [[False, True], [False, False]]
    records = [json.loads(line) for line in (trained / 'log.jsonl').read_text().splitlines()]
    assert 'EWC.penalty' in records[-1] and records[-1]['stage'] == 2
    assert (trained / 'report.html').is_file()


def test_the_run_records_version_and_hash_of_the_plugin(installed: Installed, trained: Path) -> None:
    rows = {row['name']: row for row in json.loads((trained / 'environment.json').read_text())['plugins']}
    file = Path(rows['ewc']['file'])
    assert file.is_relative_to(installed.venv) and rows['ewc']['version'] == '0.1.0'
    assert rows['ewc']['sha256'] == hash_source(str(file)) == hash_source(
        str(ROOT / 'plugins' / 'coinkit-ewc' / 'coinkit_ewc' / '__init__.py'))
    assert rows['coinkit']['sha256']


def test_its_own_config_takes_a_shipped_base(installed: Installed) -> None:
    config = next(installed.venv.glob('lib/python*/site-packages/coinkit_ewc/configs/mini_ewc.py'))
    assert 'Ready' in installed.output('coinkit', 'train', str(config), '--dry-run')


def test_no_plugin_leaves_it_out(installed: Installed, trained: Path) -> None:
    assert 'ewc' not in installed.output('coinkit', 'plugins', '--no-plugin', 'ewc')
    done = installed.run('coinkit', 'train', 'my_config.py', '--no-plugin', 'ewc')
    assert done.returncode == 2
    assert "unknown method 'EWC'" in done.stderr


def test_a_scaffold_installs_beside_it(installed: Installed, tmp_path: Path) -> None:
    installed.output('coinkit', 'new-plugin', 'weight-anchor', '--out', str(tmp_path / 'new'))
    installed.install(tmp_path / 'new', tmp_path / 'wheel')
    text = installed.output('coinkit', 'list', 'methods')
    assert 'WeightAnchor' in text and 'EWC' in text
    config = next(installed.venv.glob('lib/python*/site-packages/coinkit_weight_anchor/configs/*.py'))
    assert 'Ready' in installed.output('coinkit', 'train', str(config), '--dry-run')
