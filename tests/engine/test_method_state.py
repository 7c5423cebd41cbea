"""State that another version of a method saved is one clear error: which file, which entry, the cure."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coinkit.engine import blobs, method_state
from coinkit.errors import Interrupted, RunError
from coinkit.plugins import RunHooks
from coinkit.testing.small_runs import config, write_config


class Keeper:
    """A method with the entries it is made with."""

    def __init__(self, **entries: Any):
        self.kept = entries

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return self.kept

    def coinkit_load_state_dict(self, state: Any, blob: dict[str, Any]) -> None:
        self.kept = {name: blob[name] for name in self.kept}


class Forgiving(Keeper):
    """Takes what it knows, and goes without the rest."""

    def coinkit_load_state_dict(self, state: Any, blob: dict[str, Any]) -> None:
        self.kept = {name: blob.get(name, value) for name, value in self.kept.items()}


def load(folder: Path, plugin: Any, saved: Any) -> None:
    blobs.save(folder, 'methods', {'Keeper': saved})
    method_state.load(SimpleNamespace(hooks=RunHooks([('Keeper', plugin)])), folder)


def test_what_was_saved_comes_back(tmp_path) -> None:
    keeper = Keeper(values={}, count=0)
    load(tmp_path, keeper, {'values': {'w': [1, 2]}, 'count': 3})
    assert keeper.kept == {'values': {'w': [1, 2]}, 'count': 3}


@pytest.mark.parametrize(('plugin', 'saved', 'text'), [
    (Keeper(values=1, blocks=2), {'values': 1}, "has no entry 'blocks', which it needs"),
    (Forgiving(values=1, blocks=2, order=3), {'values': 1}, "has no entries 'blocks', 'order', which it needs"),
    (Keeper(values=1), {'values': 1, 'newer': 2}, "has the entry 'newer', which it does not know"),
    (Keeper(values=1), [1, 2], r'is not in the form it expects \(TypeError')])
def test_entries_that_do_not_fit_are_named(tmp_path, plugin, saved, text) -> None:
    with pytest.raises(RunError, match=rf'methods.json: the state of Keeper {text}.* another version .* --fresh'):
        load(tmp_path, plugin, saved)


def test_a_damaged_file(tmp_path) -> None:
    (tmp_path / 'methods.json').write_text('{"Keeper": ')
    with pytest.raises(RunError, match=r'methods.json .*cannot be read \(JSONDecodeError.* It is damaged'):
        method_state.load(SimpleNamespace(hooks=RunHooks([])), tmp_path)


def test_a_run_of_ewc_from_before_it_kept_its_blocks(mini_engine, tmp_path, monkeypatch) -> None:
    """Stopped behind its first task; the file is as the older version wrote it."""
    from coinkit.engine.runner import Runner

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / 'plugins' / 'coinkit-ewc')
    file = write_config(tmp_path / 'run.py', [dict(type='FineTune', rank=4), dict(type='EWC', num_samples=1)],
                        plugins=['coinkit_ewc'])
    options = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=1', 'schedule.warmup_steps=0')
    with monkeypatch.context() as patch:
        def stop(*_: object) -> None:
            raise Interrupted('stopped')

        patch.setattr(Runner, '_cells', stop)
        with pytest.raises(Interrupted):
            mini_engine.train(config(str(file), *options), tmp_path / 'run')
    saved = tmp_path / 'run' / 'stages' / '01-textvqa' / 'methods' / 'methods.json'
    state = json.loads(saved.read_text())
    del state['EWC']['blocks']
    saved.write_text(json.dumps(state))
    with pytest.raises(RunError, match=f"{saved}: the state of EWC has no entry 'blocks', which it needs"):
        mini_engine.train(config(str(file), *options), tmp_path / 'run')
