"""What pip reads agrees with itself: ranges, pins, what `coinkit doctor` looks for, and the configs in the package."""

from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import coinkit
from coinkit.cli.doctor import EXTRAS, REQUIRED
from coinkit.cli.main import main
from coinkit.config import shipped_names, shipped_root

ROOT = Path(__file__).resolve().parents[1]
SETUP = ConfigParser()
SETUP.read(ROOT / 'setup.cfg', encoding='utf-8')
PINS = {canonicalize_name(name): version for name, _, version in (
    line.partition('==') for line in (ROOT / 'constraints.txt').read_text().splitlines() if not line.startswith('#'))}
HARD = [Requirement(line) for line in SETUP['options']['install_requires'].split('\n') if line.strip()]


@pytest.mark.parametrize('requirement', HARD, ids=str)
def test_every_hard_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_doctor_looks_for_what_setup_asks_for() -> None:
    assert {canonicalize_name(name) for name in REQUIRED} == {canonicalize_name(each.name) for each in HARD}
    extras = SETUP['options.extras_require']
    assert {extra for extra, _ in EXTRAS.values()} == set(extras)
    assert all(name in extras[extra] for name, (extra, _) in EXTRAS.items())


def test_no_pin_is_a_path_or_an_address() -> None:
    assert all(version and version[0].isdigit() and '+' not in version for version in PINS.values())
    assert 'torchvision' not in PINS


def test_the_shipped_configs_lie_inside_the_package() -> None:
    assert shipped_root() == Path(coinkit.__file__).resolve().parent / 'configs'
    assert (shipped_root() / '_base_').is_dir()
    assert {path.stem for path in (ROOT / 'configs' / 'mini').glob('*.py')} == {
        name.removeprefix('mini/') for name in shipped_names() if name.startswith('mini/')}


def test_the_console_script_is_main() -> None:
    assert SETUP['options.entry_points']['console_scripts'].strip() == 'coinkit = coinkit.cli.main:program'
    assert callable(main)
