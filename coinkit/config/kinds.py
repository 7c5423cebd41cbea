"""Does a value have the type a dataclass field or a constructor's parameter asks for? Small, and errs towards yes.

Config values are Python literals, so `list` and `tuple` are one thing, an int is a fine float, and a bool is no number.
Annotations that mean nothing here (a class, a protocol) allow everything.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union, get_args, get_origin

_NAMES = {'int': 'a whole number', 'float': 'a number', 'str': 'a string', 'bool': 'True or False', 'NoneType': 'None'}
_LISTS = (list, tuple, Sequence, set, frozenset)
_DICTS = (dict, Mapping)


def fits(value: Any, kind: Any) -> bool:
    """Is the value of this type?"""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if origin in (None, type(None)):
        return value is None
    if origin in _LISTS:
        return isinstance(value, list | tuple) and _items_fit(value, origin, inner)
    if origin in _DICTS:
        return isinstance(value, Mapping) and (len(inner) < 2 or all(fits(each, inner[1]) for each in value.values()))
    if origin is bool:
        return isinstance(value, bool)
    if origin in (int, float):
        return isinstance(value, int if origin is int else (int, float)) and not isinstance(value, bool)
    if origin in (str, Path):
        return isinstance(value, str)
    return True


def _items_fit(value: Sequence[Any], origin: Any, inner: tuple[Any, ...]) -> bool:
    if not inner:
        return True
    if origin is tuple and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(fits(each, kind) for each, kind in zip(value, inner, strict=True))
    return all(fits(each, inner[0]) for each in value)


def describe(kind: Any) -> str:
    """The type in words: 'a number or None'."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return 'any value'
    if origin in (Union, types.UnionType):
        return ' or '.join(describe(each) for each in inner)
    if origin is Literal:
        return ' or '.join(repr(each) for each in inner)
    if origin in (None, type(None)):
        return 'None'
    if origin in _LISTS:
        return f'a list of {_plural(inner[0])}' if inner else 'a list'
    if origin in _DICTS:
        return 'a dict'
    if origin is Path:
        return 'a string'
    return _NAMES.get(getattr(origin, '__name__', ''), str(kind))


def literals(kind: Any) -> list[str]:
    """The words a type allows: 'cosine', 'constant'..."""
    if get_origin(kind) is Literal:
        return [each for each in get_args(kind) if isinstance(each, str)]
    return [word for each in get_args(kind) for word in literals(each)]


def _plural(kind: Any) -> str:
    return {'int': 'whole numbers', 'float': 'numbers', 'str': 'strings'}.get(getattr(kind, '__name__', ''), 'values')


def annotation(text: str | None) -> Any:
    """The type an annotation's text means; `Any` when it uses names that mean nothing here."""
    if text is None:
        return Any
    names = {'int': int, 'float': float, 'str': str, 'bool': bool, 'list': list, 'tuple': tuple, 'dict': dict,
             'set': set, 'Sequence': Sequence, 'Iterable': Sequence, 'List': list, 'Tuple': tuple, 'Dict': dict,
             'Mapping': Mapping, 'Literal': Literal, 'Any': Any, 'Path': Path, 'Union': Union,
             'Optional': Optional, '__builtins__': {}}
    try:
        return eval(text, names)  # noqa: S307  only the names above exist
    except Exception:  # noqa: BLE001  any annotation is legal Python; what cannot be read here is not checked
        return Any
