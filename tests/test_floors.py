"""The architecture, enforced by reading every import: imports run downward only, and the light floors stay light.

5 cli tools testing / 4 engine report / 3 backbones methods datasets metrics judges / 2 data nn / 1 config plugins
hookspecs / 0 types errors registry. Packages of floor 3 meet through registries and never import each other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'coinkit'
FLOORS = {
    'types': 0, 'errors': 0, 'registry': 0, 'atomic': 0,
    'config': 1, 'plugins': 1, 'hookspecs': 1, 'builtins': 1,
    'data': 2, 'nn': 2,
    'backbones': 3, 'methods': 3, 'datasets': 3, 'metrics': 3, 'judges': 3,
    'engine': 4, 'report': 4,
    'cli': 5, 'testing': 5, '__main__': 5,
}
NO_TORCH = {'types', 'errors', 'registry', 'atomic', 'config', 'plugins', 'hookspecs', 'builtins', 'report', 'cli',
            'metrics', 'datasets', 'judges', '__init__', '__main__'}
HEAVY = {'torch', 'transformers', 'peft', 'deepspeed', 'accelerate'}
NN_ALLOWED = {'torch', 'numpy', 'safetensors', 'coinkit'}  # tensors and their files, nothing else
FILES = sorted(path for path in PACKAGE.rglob('*.py') if 'configs' not in path.relative_to(PACKAGE).parts)


def imports(node: ast.AST, path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Dotted modules that a file imports; at `top_level`, only those that run when it is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, path)
        elif _is_type_checking(child) or top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        else:
            yield from imports(child, path, top_level=top_level)


def _from(node: ast.ImportFrom, path: Path) -> Iterator[str]:
    module = node.module or ''
    if node.level:
        package = path.relative_to(ROOT).with_suffix('').parts[:-node.level]
        module = '.'.join([*package, module] if module else package)
    for alias in node.names:
        yield f'{module}.{alias.name}' if module == 'coinkit' else module


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize('path', FILES, ids=name)
def test_imports_never_go_up(path: Path) -> None:
    part = part_of(path)
    if part == '__init__':
        return
    assert part in FLOORS, f'{name(path)}: give this module a floor in tests/test_floors.py and docs/architecture.md'
    for module in imports(parse(path), path):
        parts = module.split('.')
        if parts[0] != 'coinkit' or len(parts) == 1 or parts[1].startswith('__') or parts[1] not in FLOORS:
            continue
        here, there = FLOORS[part], FLOORS[parts[1]]
        assert there <= here, f'{name(path)} (floor {here}) imports {module} (floor {there})'
        if here == there == 3:
            assert parts[1] == part, f'{name(path)} imports {module}: packages of floor 3 meet through registries'


@pytest.mark.parametrize('path', [path for path in FILES if part_of(path) in NO_TORCH], ids=name)
def test_light_modules_import_nothing_heavy_at_module_level(path: Path) -> None:
    heavy = {module.split('.')[0] for module in imports(parse(path), path, top_level=True)} & HEAVY
    assert not heavy, f'{name(path)} imports {heavy} when it is imported; import it where it is used'


@pytest.mark.parametrize('path', [path for path in FILES if part_of(path) == 'nn'], ids=name)
def test_nn_is_plain_torch(path: Path) -> None:
    import sys

    for module in imports(parse(path), path, top_level=True):
        root = module.split('.')[0]
        assert root in NN_ALLOWED or root in sys.stdlib_module_names, f'{name(path)} imports {module}'
        assert not module.startswith('coinkit.') or FLOORS[module.split('.')[1]] == 0 or '.nn' in module, (
            f'{name(path)} imports {module}: nn knows no config and no registry')


@pytest.mark.parametrize('path', FILES, ids=name)
def test_nothing_dangerous_is_imported(path: Path) -> None:
    roots = {module.split('.')[0] for module in imports(parse(path), path)}
    assert 'torchvision' not in roots
    if 'pickle' in roots:  # only to subclass Unpickler so that it refuses everything
        assert 'find_class' in path.read_text(encoding='utf-8'), f'{name(path)} imports pickle'


@pytest.mark.parametrize('path', FILES, ids=name)
def test_files_tell_what_they_are_and_stay_small(path: Path) -> None:
    text = path.read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 400, f'{name(path)} has {len(text.splitlines())} lines'
    assert path.stem not in ('utils', 'helpers', 'common', 'misc')
    assert not text.strip() or ast.get_docstring(parse(path)), f'{name(path)} does not open with what and why'


def test_the_parser_of_imports_sees_what_it_should() -> None:
    code = ast.parse('import torch\nfrom coinkit import engine\nfrom ..nn import bank\n'
                     'if TYPE_CHECKING:\n    import peft\ndef f():\n    import deepspeed\n')
    path = PACKAGE / 'data' / 'x.py'
    assert list(imports(code, path)) == ['torch', 'coinkit.engine', 'coinkit.nn', 'deepspeed']
    assert 'deepspeed' not in list(imports(code, path, top_level=True))


def test_every_package_is_covered() -> None:
    assert {part_of(path) for path in FILES} - {'__init__'} <= FLOORS.keys()
