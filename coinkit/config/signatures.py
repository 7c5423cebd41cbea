"""What arguments a component takes, read from its source without importing it where that is possible.

Importing a method or a backbone imports torch; validating a config should not. So the class is parsed: its own
`__init__` or its dataclass fields, or those of base classes it names. What the source does not tell is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from coinkit.config.kinds import annotation
from coinkit.registry import Entry, Registry

REQUIRED = object()  # the argument has no default
UNKNOWN = object()  # it has one that is not a literal


@dataclass(frozen=True)
class Parameter:
    """One constructor argument."""

    name: str
    kind: Any = Any  # its type, `Any` when not known
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@dataclass(frozen=True)
class Signature:
    """Constructor arguments of a component; `open` when it takes any keyword."""

    parameters: dict[str, Parameter]
    open: bool = False
    doc: str = ''


def signature_of(registry: Registry, name: str) -> Signature:
    """Arguments of a registered component."""
    entry = registry.entry(name)
    return _parsed(entry) or _inspected(registry.get(name))


def one_line_doc(entry: Entry) -> str:
    """First line of a component's docstring, without importing it; '' when it has none."""
    found = _find_class(entry.target)
    doc = ast.get_docstring(found[1]) if found else None
    return doc.strip().splitlines()[0] if doc else ''


def _find_class(target: str) -> tuple[ast.Module, ast.ClassDef] | None:
    module, _, name = target.partition(':')
    tree = _parse_module(module)
    node = _class_in(tree, name) if tree else None
    return (tree, node) if tree and node else None


@lru_cache(maxsize=256)
def _parse_module(module: str) -> ast.Module | None:
    """The parsed source of a module; only its parent packages are imported to find it."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith('.py'):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding='utf-8'))


def _class_in(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _parsed(entry: Entry) -> Signature | None:
    found = _find_class(entry.target)
    return _from_class(*found) if found else None


def _from_class(tree: ast.Module, node: ast.ClassDef) -> Signature | None:
    doc = ast.get_docstring(node) or ''
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == '__init__':
            return _from_init(item, doc)
    inherited: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        found = _find_base(tree, base)
        above = _from_class(*found) if found else None
        if above is None:
            return None  # a base that the source does not tell: it has to be imported
        if not _is_dataclass(node):
            return dataclasses.replace(above, doc=doc)
        inherited.update(above.parameters)
    if _is_dataclass(node):
        return Signature({**inherited, **_fields(node)}, doc=doc)
    return Signature({}, doc=doc)


def _find_base(tree: ast.Module, base: ast.expr) -> tuple[ast.Module, ast.ClassDef] | None:
    """A base class of the same file, or one that the file imports by `from module import Name`."""
    if not isinstance(base, ast.Name):
        return None
    own = _class_in(tree, base.id)
    if own is not None:
        return tree, own
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == base.id:
                    return _find_class(f'{node.module}:{alias.name}')
    return None


def _from_init(function: ast.FunctionDef, doc: str) -> Signature:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    missing = len(plain) - len(arguments.defaults)
    defaults = [None] * missing + list(arguments.defaults)
    pairs = [*list(zip(plain, defaults, strict=True))[1:],  # without self
             *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    found = [_parameter(item.arg, item.annotation, default) for item, default in pairs]
    return Signature({each.name: each for each in found}, open=arguments.kwarg is not None, doc=doc)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any('dataclass' in ast.unparse(each).split('(')[0] for each in node.decorator_list)


def _fields(node: ast.ClassDef) -> dict[str, Parameter]:
    found = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            kind, default = ast.unparse(item.annotation), ast.unparse(item.value) if item.value else ''
            if kind.endswith('KW_ONLY') or 'ClassVar' in kind or 'init=False' in default:
                continue
            found[item.target.id] = _parameter(item.target.id, item.annotation, item.value)
    return found


def _parameter(name: str, note: ast.expr | None, default: ast.expr | None) -> Parameter:
    if default is None:
        return Parameter(name, annotation(ast.unparse(note) if note else None))
    try:
        value = ast.literal_eval(default)
    except ValueError:
        value = UNKNOWN
    return Parameter(name, annotation(ast.unparse(note) if note else None), value)


def _inspected(component: Any) -> Signature:
    parameters = inspect.signature(component).parameters.values()
    found = {}
    for each in parameters:
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
            kind = annotation(each.annotation) if isinstance(each.annotation, str) else each.annotation
            default = REQUIRED if each.default is each.empty else each.default
            found[each.name] = Parameter(each.name, Any if kind is each.empty else kind, default)
    return Signature(found, any(each.kind is each.VAR_KEYWORD for each in parameters), inspect.getdoc(component) or '')
