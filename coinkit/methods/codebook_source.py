"""Where a codebook comes from when it is not this run's own: `init_from` names a run that grouped its tasks.

That run's adapter becomes theta_0. If it is the newest one of a group, the group comes along, represented by theta_0;
the other groups' adapters are not part of the source. A damaged codebook, or one of another benchmark, style or threshold,
is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.config.init_source import split_source
from coinkit.errors import DataError, Problem
from coinkit.methods.instruction_codebook import SCHEMA, Codebook

FOLDER, FILE, START = 'InstructionGroups', 'codebook.json', 'start.json'
ZERO = '00-zero-shot'
ALONE = 'start from the adapter alone: coinkit export RUN --to peft --out FOLDER, init_from=FOLDER'
_DAMAGED = f'The file is damaged: put it back, start from another run, or {ALONE}.'


def problems(config: Any) -> list[Problem]:
    """Of the codebook that `init_from` brings along."""
    if not config.init_from:
        return []
    path = _file(split_source(config.init_from)[0])
    if not path.exists():
        return []
    try:
        blob = _read(path, 'benchmark', 'style', 'threshold')
    except DataError as error:
        return [Problem('init_from', str(error))]
    where = f'init_from: {path}'
    return foreign(where, blob, config.benchmark.name) or _compared_otherwise(where, blob, config)


def _compared_otherwise(where: str, blob: Mapping[str, Any], config: Any) -> list[Problem]:
    """Groups found in another wording, or by another threshold, than this run would find."""
    from coinkit.methods.instruction_groups import TAU
    from coinkit.registry import METHODS

    found = []
    for method in config.methods:
        if hasattr(METHODS.get(method['type']), 'reuses'):
            style, threshold = method.get('style', 'original'), method.get('threshold')
            mine = {'style': style, 'threshold': TAU[style] if threshold is None else threshold}
            found += [Problem(where, f'this codebook was made with {key}={blob[key]!r}, and the run has {mine[key]!r}.',
                              f'Give {method["type"]} the same {key}, or {ALONE}.')
                      for key in mine if blob[key] != mine[key]]
    return found


def foreign(where: str, blob: Mapping[str, Any], benchmark: str) -> list[Problem]:
    """A codebook of another benchmark, as a problem."""
    if blob.get('benchmark') == benchmark:
        return []
    return [Problem(where, f"this codebook groups the tasks of benchmark '{blob.get('benchmark')}', and the run's is "
                    f"'{benchmark}'.", 'Its groups mean nothing there: start from another run, or without init_from.')]


def take_over(state: Any) -> Codebook:
    """The group that comes along. A copy is kept in the run, which may outlive its source. Every rank must call."""
    own = state.store(FOLDER) / START
    if state.strategy.is_main and not own.exists():
        atomic.write_json(own, _group_of_source(state.init_source()).to_json())
    state.strategy.barrier()
    return Codebook.from_json(_read(own))


def _group_of_source(source: tuple[Path, str] | None) -> Codebook:
    if source is None or not _file(source[0]).exists():
        return Codebook()
    groups = Codebook.from_json(_read(_file(source[0]))).groups
    return Codebook([replace(group, stage=ZERO) for group in groups if group.stage == source[1]])


def _file(run: Path) -> Path:
    return run / 'methods' / FOLDER / FILE


def _read(path: Path, *more: str) -> dict[str, Any]:
    """A file with a whole codebook and the keys `more`; anything else is a DataError."""
    try:
        blob = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(blob, dict) or blob.get('schema') != SCHEMA:
            given = blob.get('schema') if isinstance(blob, dict) else type(blob).__name__
            raise DataError(f'{path}: schema {given!r} is not {SCHEMA!r}. {_DAMAGED}')
        missing = [key for key in ('groups', 'decisions', *more) if key not in blob]
        if missing:
            raise DataError(f"{path}: a codebook without '{missing[0]}'. {_DAMAGED}")
        Codebook.from_json(blob)
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from error
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}). {_DAMAGED}') from error
    except (KeyError, TypeError) as error:
        raise DataError(f'{path}: a group or decision in it is not whole ({error}). {_DAMAGED}') from error
    return blob
