"""`--cfg-options schedule.lr=1e-4 methods.0.rank=8`: single keys set from the command line.

Values are Python literals, or words: `tasks=[gqa,vizwiz]`, `order=reverse`, `evaluation.zero_shot=true`. A misspelt key
is set like any other and then refused by validation, which names it with its nearest match.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from mmengine.config import DictAction

from coinkit.config.reading import COMMAND_LINE, Source
from coinkit.errors import ConfigError, Problem

_LISTS = ('tasks', 'orders', 'seeds', 'plugins')  # `tasks=gqa` means a list of one


def apply_options(source: Source, options: Iterable[str]) -> list[Problem]:
    """Set each `key=value` in the tree, claimed by the command line; tell those that cannot be set."""
    problems = []
    for option in options:
        key, equals, text = option.partition('=')
        if not equals or not key.strip():
            problems.append(Problem(COMMAND_LINE, f"given '{option}', allowed: key=value, as in schedule.lr=1e-4."))
            continue
        value = parse_value(text)
        if key in _LISTS and value is not None and not isinstance(value, list):
            value = [value]
        problems += _set(source, key.strip(), value)
    return problems


def parse_value(text: str) -> Any:
    """A literal where the text is one, else mmengine's reading of unquoted words and lists."""
    try:
        return _literal(ast.parse(text.strip(), mode='eval').body)
    except (ValueError, SyntaxError):
        if text.strip().startswith(('{', '[{', 'dict(', '[dict(')):  # mmengine would split it at its commas
            raise ConfigError(Problem(COMMAND_LINE, f"given '{text}', which is no literal.", "Words inside it need quotes: "
                                      "methods=[dict(type='FineTune', rank=8)].")) from None
    try:
        return DictAction._parse_iterable(text)
    except AssertionError as error:  # mmengine's check of brackets
        raise ConfigError(Problem(COMMAND_LINE, f"given '{text}': {error}.")) from error


def _literal(node: ast.expr) -> Any:
    """As ast.literal_eval; also dict(key=value), and true, false and null as JSON writes them."""
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_literal(key): _literal(value) for key, value in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=given) if all(one.arg for one in given):
            return {one.arg: _literal(one.value) for one in given}
        case ast.Name(id='true' | 'false' | 'null' as word):
            return {'true': True, 'false': False, 'null': None}[word]
    return ast.literal_eval(node)


def _set(source: Source, key: str, value: Any) -> list[Problem]:
    node: Any = source.tree
    parts = key.split('.')
    for depth, part in enumerate(parts):
        here = '.'.join(parts[:depth])
        last = depth == len(parts) - 1
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                return [Problem(f'{COMMAND_LINE}: {key}', f"'{here}' is a list of {len(node)}: given '{part}', "
                                                          f'allowed: 0 to {len(node) - 1}.')]
            part = int(part)
        elif not isinstance(node, dict):
            return [Problem(f'{COMMAND_LINE}: {key}', f"'{here}' is {node!r}: it has no keys.")]
        elif not last and node.get(part) is None:
            node[part] = {}
        if last:
            node[part] = value
        else:
            node = node[part]
    source.claim(key, value, COMMAND_LINE)
    return []
