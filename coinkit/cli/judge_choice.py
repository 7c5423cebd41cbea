"""`--judge NAME --cfg-options k=v`: which judge, with which arguments, all of them checked before anything is built.

NAME is registered, or a file (a path, or the name of one in configs/_base_/judges) that says `judge = dict(type=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coinkit.config.components import check_component
from coinkit.config.dump import make_plain
from coinkit.config.overrides import apply_options
from coinkit.config.reading import COMMAND_LINE, Source, read, shipped_root, show_path
from coinkit.errors import ConfigError, Problem, unknown
from coinkit.judges.base import Judge
from coinkit.registry import JUDGES

KEY = 'judge'
NONE = 'none'
_SHIPPED = '_base_/judges'


def build_judge(name: str, options: Sequence[str]) -> Judge | None:
    """The judge, or None for `none`."""
    if name == NONE:
        if options:
            raise ConfigError(Problem('--cfg-options', 'there is no judge to give arguments to (--judge none).'))
        return None
    source = _source(name)
    problems = apply_options(source, [text if text.startswith(f'{KEY}.') else f'{KEY}.{text}' for text in options])
    problems = problems or list(check_component(source.tree[KEY], KEY, source, KEY))
    if problems:
        raise ConfigError(problems)
    return JUDGES.build(source.tree[KEY])


def _source(name: str) -> Source:
    if name in JUDGES:
        return Source(Path(COMMAND_LINE), {KEY: {'type': name}})
    shipped = {path.stem: path for path in (shipped_root() / _SHIPPED).glob('*.py')}
    path = shipped.get(name, Path(name).expanduser())
    if not path.is_file():
        raise ConfigError(unknown('--judge', KEY, name, [NONE, *JUDGES.names(), *shipped]))
    source = read(path.resolve())
    source.tree = source.tree.to_dict()
    problems = [*make_plain(source), *(unknown(f'{show_path(path)}: {key}', 'key', key, [KEY])
                                       for key in source.tree if key != KEY)]
    if KEY not in source.tree:
        problems.append(Problem(show_path(path), f'says no {KEY} = dict(type=...).'))
    if problems:
        raise ConfigError(problems)
    return source
