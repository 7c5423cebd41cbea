"""`state.ask`: the answers of a plain loop, in order; an interrupted round goes on; another signature starts anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit.engine.asking import share_of_batches
from coinkit.engine.generation import decode_batch, evaluating
from coinkit.errors import Interrupted
from coinkit.testing.runs import opened
from coinkit.testing.small_runs import config


def asked(run, path: Path, *, signature: str = 'x') -> list[str]:
    return run.state.ask(run.test_samples(0), max_new_tokens=4, label='asking', path=path, signature=signature)


def test_answers_go_on_where_they_were_interrupted(mini_engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'answers' / 'one.json'
    with opened(config('zero_shot'), tmp_path / 'run') as run:
        state, backbone = run.state, run.state.backbone
        state.token_budget = 100  # a question in each batch
        with evaluating(backbone):
            loop = [backbone.decode(decode_batch(backbone, backbone.collate(
                [backbone.encode(one, training=False)], padding_side='left'), [4])[0]) for one in run.test_samples(0)]
        assert asked(run, path) == loop and not list(path.parent.iterdir()), 'nothing is left beside the path'

        def stop(_: str) -> None:
            raise Interrupted('stop')

        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(state.interrupt, 'check', stop)
            asked(run, path)
        (part,) = path.parent.iterdir()
        record = json.loads(part.read_text())
        (index, _), = record['answers']
        part.write_text(json.dumps(record | {'answers': [[index, 'kept']]}) + '\n')
        assert asked(run, path) == [*loop[:index], 'kept', *loop[index + 1:]]
        part.write_text(json.dumps(record | {'answers': [[index, 'of another router']]}) + '\n')
        assert asked(run, path, signature='y') == loop


def test_processes_share_the_batches(mini_engine, tmp_path: Path) -> None:
    with opened(config('zero_shot'), tmp_path / 'run') as run:
        state = run.state
        state.token_budget = 30
        whole = share_of_batches(state, [10, 30, 20, 10, 15])
        state.strategy.world_size, shares = 2, []
        for state.strategy.rank in (0, 1):
            shares.append(share_of_batches(state, [10, 30, 20, 10, 15]))
        assert sorted(sum(shares, [])) == sorted(whole) and all(shares)
