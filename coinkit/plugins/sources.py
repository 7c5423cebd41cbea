"""Where a plug-in comes from: the file behind a name, its import, its version and its hash.

A file given by path is a module of its own, kept in `sys.modules` so that 'module:Class' targets and pickling find it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from coinkit.errors import CoinkitError, PluginError, Problem


def resolve_file(spec: str, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """The absolute file a `--plugin` value means (in `folder`, else here), or None for a dotted module."""
    if not spec.endswith('.py') and os.sep not in spec:
        return None
    candidates = [Path(base, spec).expanduser() for base in (folder, '.') if base is not None]
    return next((path.resolve() for path in candidates if path.is_file()), candidates[0].resolve())


def file_name(path: Path) -> str:
    """Name of a plug-in file: its stem, or its folder's name for an `__init__.py`."""
    return path.parent.name if path.stem == '__init__' else path.stem


def import_plugin(spec: str, path: Path | None) -> ModuleType:
    """The module of a plug-in, executed anew when it is a file."""
    if path is None:
        return import_module(spec)
    if not path.is_file():
        raise PluginError(f"plug-in '{spec}': there is no file {path}.")
    name = f'coinkit_plugin_{file_name(path)}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}'
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise PluginError(f"{path}: given a folder or a file that is not Python; allowed: a '.py' file.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def blaming(where: str, what: str, cure: str) -> Iterator[None]:
    """Turn an exception of foreign code into a PluginError with its traceback and the way out."""
    try:
        yield
    except CoinkitError:
        raise
    except Exception as error:
        text = ''.join(traceback.format_exception(type(error), error, _foreign(error.__traceback__))).rstrip()
        raise PluginError(Problem(where, f'{what}:\n{text}\n', cure)) from error


def _foreign(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor the import machinery's."""
    own = str(Path(__file__).parent)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((own, '<frozen importlib')):
        trace = trace.tb_next
    return trace


def module_version(module: ModuleType) -> str | None:
    """Version of the distribution a module belongs to, or its `__version__`."""
    package = module.__name__.partition('.')[0]
    for distribution in importlib.metadata.packages_distributions().get(package, []):
        return importlib.metadata.version(distribution)
    version = getattr(module, '__version__', None)
    return None if version is None else str(version)


def source_file(thing: Any) -> str:
    """The file something was written in, or '' when it has none."""
    target = thing if inspect.ismodule(thing) or inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    try:
        return inspect.getsourcefile(target) or ''
    except TypeError:  # built in C or made interactively
        return ''


def hash_source(file: str) -> str | None:
    """SHA-256 of a file, or of all Python files of the package whose `__init__.py` it is."""
    path = Path(file)
    if not file or not path.is_file():
        return None
    if path.name != '__init__.py':
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for each in sorted(path.parent.rglob('*.py')):
        digest.update(str(each.relative_to(path.parent)).encode() + b'\0' + each.read_bytes() + b'\0')
    return digest.hexdigest()
