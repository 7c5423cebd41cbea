"""Reading config files: Python files with `_base_`, merged by mmengine's rules, remembering which file set which key.

CONFIG is a path or a shipped name (`coin/llava_moelora`). `_base_` names files relative to the file that says it, or
shipped ones by `coinkit::mini/finetune.py`, from any folder. A config reads its bases as `_base_.schedule.lr`; names
that start with an underscore, functions and modules are the file's own and no keys. mmengine's own reader is not used:
it does not tell which line failed or which file set a key, and it finds no shipped bases.
"""

from __future__ import annotations

import ast
import os
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from mmengine.config import Config, ConfigDict

import coinkit
from coinkit.errors import ConfigError, Problem, nearest

SHIPPED_PREFIX = 'coinkit::'
COMMAND_LINE = '--cfg-options'


@dataclass
class Source:
    """A merged config tree, and for each dotted key the file (or command line) that set it last."""

    path: Path
    tree: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """`file: key` for an error message."""
        return f'{self.file_of(key)}: {key}'

    def file_of(self, key: str) -> str:
        """The file that set a key, or the nearest key above it; the run file when none is known."""
        parts = key.split('.')
        for length in range(len(parts), 0, -1):
            prefix = '.'.join(parts[:length])
            if prefix in self.origins:
                return self.origins[prefix]
            below = next((each for each in self.origins if each.startswith(f'{prefix}.')), None)
            if below and length == len(parts):
                return self.origins[below]
        return show_path(self.path)

    def claim(self, key: str, value: Any, file: str) -> None:
        """Note that `file` set `key`; dictionaries claim their leaves, anything else replaces what was below."""
        if isinstance(value, dict) and value and not value.get('_delete_', False):
            for name, below in value.items():
                self.claim(f'{key}.{name}' if key else str(name), below, file)
            self.origins.setdefault(key, file)
            return
        for below in [each for each in self.origins if each.startswith(key + '.')]:
            del self.origins[below]
        self.origins[key] = file


def shipped_root() -> Path:
    """Folder of the configs that come with coinkit."""
    return Path(coinkit.__file__).resolve().parent / 'configs'


def shipped_names() -> list[str]:
    """Names of the shipped run files: 'coin/llava_moelora'."""
    root = shipped_root()
    found = (path.relative_to(root) for path in root.rglob('*.py'))
    return sorted(path.with_suffix('').as_posix() for path in found if not path.parts[0].startswith('_'))


def find_config(name: str | os.PathLike[str]) -> Path:
    """The file a CONFIG argument means: a path, or a shipped name with or without `.py`."""
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.is_file():
        return path.resolve()
    shipped = shipped_root() / (text if text.endswith('.py') else f'{text}.py')
    if shipped.is_file() and not text.startswith(('/', '.', '~')):
        return shipped.resolve()
    given = text.removesuffix('.py').removeprefix('configs/')
    names = shipped_names()
    raise ConfigError(Problem(f'{text}', 'there is no such config file, nor a shipped config of that name.',
                              f'{nearest(given, names)} Shipped: {", ".join(names) or "none"}.'.strip()))


def show_path(path: Path) -> str:
    """A path as a user would type it: relative when it lies below here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read(path: Path) -> Source:
    """The merged tree of a run file and its bases."""
    return _read(path, chain=())


def _read(path: Path, *, chain: tuple[Path, ...]) -> Source:
    if path in chain:
        loop = ' -> '.join(show_path(each) for each in (*chain, path))
        raise ConfigError(Problem(show_path(path), f'_base_ goes round in a circle: {loop}.'))
    code = _parse(path)
    merged = Source(path, ConfigDict())
    for base in _bases(path, code):
        _add_base(merged, _read(base, chain=(*chain, path)))
    own = _execute(path, code, merged.tree)
    merged.claim('', own, show_path(path))  # before merging, which takes `_delete_` away
    try:
        merged.tree = Config._merge_a_into_b(own, merged.tree)
    except TypeError as error:
        raise ConfigError(Problem(show_path(path), str(error))) from error
    return merged


def _parse(path: Path) -> ast.Module:
    try:
        text = path.read_text(encoding='utf-8')
        return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        line = (error.text or '').strip()
        raise ConfigError(Problem(f'{show_path(path)}: line {error.lineno}', f'broken Python: {error.msg}: {line!r}')
                          ) from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(Problem(show_path(path), f'cannot be read: {error}')) from error


def _is_base(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == '_base_'
                                                for target in node.targets)


def _bases(path: Path, code: ast.Module) -> list[Path]:
    bases: list[Path] = []
    for node in filter(_is_base, code.body):
        where = f'{show_path(path)}: line {node.lineno}'
        try:
            value = ast.literal_eval(node.value)
        except ValueError as error:
            raise ConfigError(Problem(where, '_base_ must be a file name or a list of file names.')) from error
        names = value if isinstance(value, list | tuple) else [value]
        bases += [_base_path(path, name, where) for name in names]
    return bases


def _base_path(path: Path, name: Any, where: str) -> Path:
    if not isinstance(name, str):
        raise ConfigError(Problem(where, f'_base_: given {name!r}, allowed: a file name.'))
    if name.startswith(SHIPPED_PREFIX):
        short = name.removeprefix(SHIPPED_PREFIX)
        root = shipped_root()
        found = root / (short if short.endswith('.py') else f'{short}.py')
        names = [f'{SHIPPED_PREFIX}{each.relative_to(root).as_posix()}' for each in root.rglob('*.py')]
    else:
        found = path.parent / name
        names = [f'{name[:-len(found.name)]}{each.name}' for each in sorted(found.parent.glob('*.py'))]
    if not found.is_file():
        raise ConfigError(Problem(where, f"_base_: there is no file '{name}' ({show_path(found)}).",
                                  nearest(name, names)))
    return found.resolve()


def _add_base(merged: Source, base: Source) -> None:
    twice = sorted(merged.tree.keys() & base.tree.keys())
    if twice:
        files = f'{merged.file_of(twice[0])} and {base.file_of(twice[0])}'
        raise ConfigError(Problem(show_path(merged.path), f"two bases set the same key '{twice[0]}': {files}.",
                                  'Keep each top-level key in one base.'))
    merged.tree.update(base.tree)
    merged.origins.update(base.origins)


def _execute(path: Path, code: ast.Module, base: dict[str, Any]) -> dict[str, Any]:
    body = ast.Module([node for node in code.body if not _is_base(node)], type_ignores=[])
    names: dict[str, Any] = {'_base_': base, '__file__': str(path)}
    try:
        exec(compile(body, str(path), 'exec'), names)  # a config is the user's own Python
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f': line {frames[-1].lineno}' if frames else ''
        text = f': {frames[-1].line!r}' if frames else ''
        raise ConfigError(Problem(f'{show_path(path)}{line}', f'{type(error).__name__}: {error}{text}',
                                  "A base's value is written _base_.schedule.lr, without braces."
                                  if '_base_' in text else '')) from error
    skipped = (ModuleType, FunctionType, BuiltinFunctionType, type)
    return {key: value for key, value in names.items() if not key.startswith('_') and not isinstance(value, skipped)}
