"""Runs of the mini stream small enough to be repeated many times in one test session, and how two runs are compared.

`config(...)` is a shipped mini config cut down to two tasks and a few steps; `method_config(...)` the same for any list of
methods. `mini_engine` (a fixture: import it into a conftest.py) keeps one loaded backbone and gives each run a copy, on one
thread, so that a whole run takes about a second.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TASKS = ('TextVQA', 'GQA')
SMALL = ('schedule.steps=3', 'schedule.global_batch_size=2', 'schedule.micro_batch_size=2', 'schedule.lr=1e-2',
         'evaluation.limit=3', 'checkpoint.every_steps=2', 'device=cpu', 'data.workers=0')
SHORT_ANSWERS = tuple(f'benchmark.tasks.{number}.generation.max_new_tokens=3' for number in range(8))
TRAINS_ALL = ('methods.0.dropout=0.05', 'methods.0.train_projector=True')  # random numbers, and tensors outside the bank


def options(*more: str, tasks: tuple[str, ...] = TASKS) -> list[str]:
    """`--cfg-options` of a small run."""
    return [*SMALL, *SHORT_ANSWERS, f'tasks={json.dumps(list(tasks))}', *more]


def config(name: str = 'finetune', *more: str, tasks: tuple[str, ...] = TASKS) -> Any:
    """A shipped mini config (or the path of one), cut down."""
    from coinkit.config import load_config

    return load_config(name if '/' in name else f'mini/{name}', options=options(*more, tasks=tasks))


def write_config(file: Path, methods: Sequence[Mapping[str, Any]], *, plugins: Sequence[str] = (),
                 backbone: Mapping[str, Any] | None = None) -> Path:
    """A run file of the mini stream with these methods, on mini-LLaVA where no other backbone is given."""
    names = ('benchmarks/mini', 'schedules/mini', *(() if backbone else ('backbones/llava_mini',)))
    lines = [f'_base_ = {[f"coinkit::_base_/{name}.py" for name in names]!r}',
             f'methods = {[dict(one) for one in methods]!r}', f'plugins = {list(plugins)!r}',
             *([f'backbone = {dict(backbone)!r}'] if backbone else ())]
    file.write_text('\n'.join(lines) + '\n')
    return file


def with_small_rank(method: Mapping[str, Any]) -> dict[str, Any]:
    """The method at rank 4 where it has a rank and says none."""
    from coinkit.registry import METHODS

    parameters = inspect.signature(METHODS.get(method['type'])).parameters
    small = {'rank': 4, 'alpha': 8.0} if 'rank' in parameters and 'rank' not in method else {}
    return {**{key: value for key, value in small.items() if key in parameters}, **method}


def without_dropout(count: int, method: Mapping[str, Any]) -> list[str]:
    """Options that take the dropout from the last of `count` methods, where it has one."""
    from coinkit.registry import METHODS

    has = 'dropout' in inspect.signature(METHODS.get(method['type'])).parameters
    return [f'methods.{count - 1}.dropout=0.0'] if has else []


def plain_backbone(config: Any) -> Any:
    """The backbone of a config as it is before any method touches it."""
    from coinkit.registry import BACKBONES

    return BACKBONES.build(dict(config.backbone), device='cpu')


def digest(folder: Path) -> dict[str, str]:
    """Hashes of all that a run has earned: adapters, method state, predictions, matrix."""
    patterns = ('stages/*/adapter/*', 'stages/*/methods/*', 'predictions/*/*.jsonl', 'matrix.json')
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def differing(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Files that are not the same in two digests."""
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / 'ledger.jsonl').read_text().splitlines()]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return [record for record in ledger(folder) if record['event'] == name]


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]


def matrix(folder: Path) -> dict[str, Any]:
    return json.loads((folder / 'matrix.json').read_text())


def adapter(folder: Path, stage: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / 'stages' / stage / 'adapter' / 'adapter.safetensors')


@pytest.fixture(scope='session')
def loaded_backbones() -> dict[str, Any]:
    """Backbones by their arguments, loaded once."""
    return {}


@contextmanager
def small_engine(loaded: dict[str, Any]) -> Iterator[MiniEngine]:
    """The engine with backbones from `loaded` (filled as they are built), without reports, on one thread."""
    import torch

    from coinkit.engine import launch
    from coinkit.plugins import load_plugins
    from coinkit.registry import BACKBONES

    threads, build = torch.get_num_threads(), BACKBONES.build

    def build_copy(arguments: dict[str, Any], **more: Any) -> Any:
        key = repr((sorted(arguments.items()), sorted(more.items())))
        if key not in loaded:
            loaded[key] = build(arguments, **more)
        backbone = copy.copy(loaded[key])
        backbone.model = copy.deepcopy(backbone.model)
        return backbone

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BACKBONES, 'build', build_copy)
        patch.setattr(launch, 'write_report', lambda runner: None)
        # a killed process loses nothing that it has written: fsync is for power cuts, and slow on a busy disk
        patch.setattr(os, 'fsync', lambda handle: None)
        torch.set_num_threads(1)
        load_plugins()
        yield MiniEngine()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    load_plugins()


@pytest.fixture
def mini_engine(loaded_backbones: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniEngine]:
    """`coinkit.engine.launch` with a cached backbone; `.train(config, folder)` returns the folder's digest."""
    with small_engine(loaded_backbones) as engine:
        yield engine
        monkeypatch.undo()  # before the engine's own: a test may have replaced what the engine replaces


class MiniEngine:
    """What `coinkit train` and `coinkit test` call, for tests."""

    def train(self, config: Any, folder: Path, **options: Any) -> dict[str, str]:
        from coinkit.engine import launch

        launch.train(config, folder, **options)
        return digest(folder)

    def test(self, config: Any, folder: Path, **options: Any) -> dict[str, str]:
        from coinkit.engine import launch

        launch.test(config, folder, **options)
        return digest(folder)
