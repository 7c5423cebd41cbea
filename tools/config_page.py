"""Writes the generated part of docs/configs.md: every key a config may have, and every component's arguments.

Keys, types, defaults, ranges and the comments beside them come from coinkit/config/schema.py; arguments come from the
components' own signatures. Run it after changing either: `python tools/config_page.py`. A test compares.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if find_spec('coinkit') is None:
    sys.path.insert(0, str(ROOT))

from coinkit.config import schema  # noqa: E402
from coinkit.config.kinds import describe  # noqa: E402
from coinkit.config.signatures import REQUIRED, UNKNOWN, Parameter, one_line_doc, signature_of  # noqa: E402
from coinkit.config.validation import keys_of  # noqa: E402
from coinkit.registry import REGISTRIES, Entry, Registry  # noqa: E402

PAGE = ROOT / 'docs' / 'configs.md'
BEGIN, END = '<!-- keys:begin (written by tools/config_page.py) -->', '<!-- keys:end -->'
SECTIONS = (  # heading, class, the prefix of its keys
    ('Top level', schema.RunConfig, ''),
    ('benchmark', schema.Benchmark, 'benchmark.'),
    ('A task of benchmark.tasks', schema.TaskSection, 'benchmark.tasks.N.'),
    ('generation of a task', schema.Generation, 'benchmark.tasks.N.generation.'),
    ('mini of a task', schema.TaskMini, 'benchmark.tasks.N.mini.'),
    ('published of a task', schema.Published, 'benchmark.tasks.N.published.'),
    ('An entry of benchmark.downloads', schema.Download, 'benchmark.downloads.N.'),
    ('schedule', schema.Schedule, 'schedule.'),
    ('schedule.mini', schema.ScheduleMini, 'schedule.mini.'),
    ('data', schema.Data, 'data.'),
    ('evaluation', schema.Evaluation, 'evaluation.'),
    ('checkpoint', schema.Checkpoint, 'checkpoint.'))
WORDS = {'low': '≥', 'above': '>', 'high': '≤', 'below': '<'}


def generated() -> str:
    """The part of the page between the two marks."""
    from coinkit.plugins import current_plugins

    current_plugins()  # fills the registries
    parts = [f'### {heading}\n\n' + _key_table(section, prefix) for heading, section, prefix in SECTIONS]
    parts.append('## Arguments of the components\n\nBuilt-in ones; a plug-in brings its own. An argument without a '
                 'default must be given.\n')
    parts += [_registry_part(name.lower(), registry) for name, registry in vars(REGISTRIES).items() if registry.names()]
    return '\n'.join(parts)


def with_generated(page: str) -> str:
    """The page with its generated part replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f'{before}{BEGIN}\n\n{generated()}\n{END}{after}'


def _key_table(section: type, prefix: str) -> str:
    comments = _comments(section)
    lines = ['| key | value | default | |', '|---|---|---|---|']
    for name, (item, kind) in keys_of(section).items():
        lines.append(f'| `{prefix}{name}` | {_value(item, kind)} | {_default(item)} | {_cell(comments[name])} |')
    return '\n'.join(lines) + '\n'


def _comments(section: type) -> dict[str, str]:
    """The comment behind each field of a section."""
    text = inspect.getsource(section)
    lines = text.splitlines()
    fields = [node for node in ast.parse(text).body[0].body if isinstance(node, ast.AnnAssign)]
    ends = {node.target.id: lines[node.end_lineno - 1].encode()[node.end_col_offset:].decode() for node in fields}
    return {name: end.partition('#')[2].strip() for name, end in ends.items()}


def _value(item: Field, kind: Any) -> str:
    if 'kind' in item.metadata:
        many = item.name == 'methods'
        return f'{"list of " if many else ""}`dict(type=...)` of a {item.metadata["kind"]}'
    name = getattr(kind, '__name__', '')
    inner = [each.__name__ for each in getattr(kind, '__args__', ()) if hasattr(each, '__dataclass_fields__')]
    if hasattr(kind, '__dataclass_fields__') or inner:
        return 'list of dicts' if name == 'tuple' else 'dict'
    limits = [f'{WORDS[key]} {limit:g}' for key, limit in item.metadata.get('bounds', {}).items()]
    return _cell(', '.join([describe(kind), *limits]))


def _default(item: Field) -> str:
    if item.default is MISSING and item.default_factory is MISSING:
        return 'required'
    value = item.default if item.default is not MISSING else item.default_factory()
    return f'`{value!r}`' if isinstance(value, str | int | float | dict | tuple | None) else 'its own defaults'


def _registry_part(name: str, registry: Registry) -> str:
    lines = [f'### {name}\n', '| type | arguments | |', '|---|---|---|']
    lines += [_component_row(registry, entry) for entry in registry.entries(provider='coinkit') if not entry.alias_of]
    return '\n'.join(lines) + '\n'


def _component_row(registry: Registry, entry: Entry) -> str:
    arguments = ', '.join(_arguments(signature_of(registry, entry.name).parameters.values()))
    return f'| `{entry.name}` | {_cell(arguments) or "none"} | {_cell(one_line_doc(entry))} |'


def _arguments(parameters: Any) -> Iterator[str]:
    for each in parameters:
        yield f'`{each.name}`' if _has_no_default(each) else f'`{each.name}={each.default!r}`'


def _has_no_default(parameter: Parameter) -> bool:
    return parameter.default is REQUIRED or parameter.default is UNKNOWN


def _cell(text: str) -> str:
    return (text if '`' in text else text.replace('<', '&lt;')).replace('|', '\\|')


if __name__ == '__main__':
    PAGE.write_text(with_generated(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
