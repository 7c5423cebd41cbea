"""`coinkit new-plugin NAME`: the scaffold of a method as a distribution of its own, with tests that pass as they are.

The files are templates beside this module (`scaffold/*.tmpl`); `$name`, `$cls`... stand for what follows from NAME.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from coinkit.errors import ConfigError, Problem
from coinkit.registry import METHODS

PREFIX = 'coinkit-'
NAME = re.compile(r'[a-z][a-z0-9]*(-[a-z0-9]+)*')
FILES = {  # path in the new folder -> template
    'pyproject.toml': 'pyproject.toml.tmpl',
    'README.md': 'README.md.tmpl',
    '$package/__init__.py': 'init.py.tmpl',
    '$package/method.py': 'method.py.tmpl',
    '$package/configs/mini_$module.py': 'config.py.tmpl',
    'tests/test_$module.py': 'test.py.tmpl',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', metavar='NAME', help="name of the method in lower case, such as 'weight-anchor'")
    parser.add_argument('--out', type=Path, metavar='D', help='new folder to write (default: ./coinkit-NAME)')


def main(args: argparse.Namespace) -> int:
    names = names_of(args.name)
    folder = args.out or Path(names['distribution'])
    _check_folder(folder)
    try:
        write(folder, names)
    except OSError as error:
        raise ConfigError(Problem('--out', f'{folder} cannot be written ({error.strerror}).', 'Choose another.')) from error
    sys.stdout.write(f'Wrote {folder}: method {names["cls"]} in {names["package"]}/method.py.\n'
                     f'  cd {folder} && pytest             its tests pass as they are\n'
                     f'  pip install -e {folder}           then `coinkit plugins` shows it\n'
                     f'  coinkit train {folder / names["package"] / "configs"}/mini_{names["module"]}.py\n')
    return 0


def names_of(given: str) -> dict[str, str]:
    """Everything the templates call the plug-in: 'weight-anchor' -> coinkit-weight-anchor, WeightAnchor..."""
    name = given.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        proposal = '-'.join(re.findall(r'[a-z0-9]+', re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '-', name).lower()))
        hint = f"Did you mean '{proposal}'?" if NAME.fullmatch(proposal) else "For example 'weight-anchor'."
        raise ConfigError(Problem('new-plugin NAME', f'given {given!r}, allowed: lower-case letters, digits and single '
                                  'hyphens, a letter first.', hint))
    cls = ''.join(part.capitalize() for part in name.split('-'))
    taken = {each.lower(): each for each in METHODS.names()}
    if cls.lower() in taken:
        raise ConfigError(Problem('new-plugin NAME', f"given {given!r}: there is a method '{taken[cls.lower()]}' already "
                                  f"(plug-in '{METHODS.entry(taken[cls.lower()]).provider}').", 'Choose another name.'))
    module = name.replace('-', '_')
    return {'name': name, 'distribution': f'{PREFIX}{name}', 'package': f'coinkit_{module}', 'module': module, 'cls': cls}


def _check_folder(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        what = 'is not empty' if folder.is_dir() else 'is a file'
        raise ConfigError(Problem('--out', f"'{folder}' exists and {what}; nothing is overwritten.",
                                  'Choose another folder with --out, or remove it.'))


def write(folder: Path, names: dict[str, str]) -> None:
    """Fill the templates into a folder that is new or empty."""
    templates = files('coinkit.cli') / 'scaffold'
    for path, template in FILES.items():
        file = folder / Template(path).substitute(names)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (templates / template).read_text(encoding='utf-8')
        file.write_text(Template(text).substitute(names), encoding='utf-8')
