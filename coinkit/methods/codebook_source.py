"""Where a codebook comes from when it is not this run's own: `init_from` names a run that grouped its tasks.

That run's adapter becomes theta_0. If it is the newest one of a group, the group comes along, represented by theta_0;
the other groups' adapters are not part of the source. A codebook of another benchmark is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.config.init_source import split_source
from coinkit.errors import Problem
from coinkit.methods.instruction_codebook import Codebook

FOLDER, FILE, START = 'InstructionGroups', 'codebook.json', 'start.json'
ZERO = '00-zero-shot'


def problems(config: Any) -> list[Problem]:
    """Of the codebook that `init_from` brings along."""
    if not config.init_from:
        return []
    path = _file(split_source(config.init_from)[0])
    return foreign(f'init_from: {path}', _read(path), config.benchmark.name) if path.exists() else []


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


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding='utf-8'))
