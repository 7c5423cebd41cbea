"""MR-LoRA in small runs: experts, router, records, live routes, and what a perfect and a constant router give."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coinkit.engine.generation import evaluating
from coinkit.errors import ConfigError
from coinkit.methods.mr_lora import method, routing
from coinkit.methods.mr_lora.records import draw_records, routing_records
from coinkit.methods.mr_lora.routing import Letters, Routed
from coinkit.report.cost import read_cost
from coinkit.report.routing import read_routing
from coinkit.testing import small_runs
from coinkit.testing.runs import opened
from coinkit.testing.small_runs import adapter, config, events
from coinkit.types import Sample, Turn

ROUTER = ('methods.0.router_steps=2', 'methods.0.router_epochs=None', 'methods.0.router_batch_size=2',
          'methods.0.router_samples=3')
FIRST, SECOND = '01-textvqa', '02-gqa'


@pytest.fixture(scope='module')
def engine() -> Iterator[small_runs.MiniEngine]:
    with small_runs.small_engine({}) as engine:
        yield engine


@pytest.fixture(scope='module')
def finished(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, projector trained."""
    folder = tmp_path_factory.mktemp('runs') / 'mr_lora'
    engine.train(of_two_tasks(), folder)
    return folder


@pytest.fixture(scope='module')
def single(engine: Any, finished: Path) -> Path:
    """Single-task experts of the same shape."""
    folder = finished.parent / 'single'
    engine.train(config('single_task', 'methods.0.train_projector=True'), folder)
    return folder


def of_two_tasks(*more: str) -> Any:
    return config('mr_lora', *ROUTER, 'methods.0.train_projector=True', *more)


@pytest.fixture
def again(engine: Any, finished: Path, tmp_path: Path) -> Any:
    """Evaluate the last stage once more, in a copy without its answers; returns the copy."""
    def run(*, keep_routes: bool = False) -> Path:
        copy = tmp_path / f'copy-{len(list(tmp_path.iterdir()))}'
        shutil.copytree(finished, copy)
        shutil.rmtree(copy / 'predictions' / SECOND)
        if not keep_routes:
            shutil.rmtree(copy / 'methods')
        lines = (copy / 'ledger.jsonl').read_bytes().splitlines(keepends=True)
        (copy / 'ledger.jsonl').write_bytes(b''.join(line for line in lines if b'"cell_scored"' not in line))
        engine.test(of_two_tasks(), copy, stage='2')
        return copy
    return run


def test_it_stores_an_expert_for_each_task_and_one_router(finished: Path, single: Path) -> None:
    """P(r) and the projector for every task, the router's P(r) once, whatever the number of stages that carry one."""
    expert = read_cost(single, read_routing(single, small_runs.TASKS))['stored'] / 2
    router = sum(value.numel() for name, value in adapter(finished, SECOND).items() if '.routing.' in name)
    assert router > 0 and read_cost(finished, read_routing(finished, small_runs.TASKS))['stored'] == 2 * expert + router


def answers(folder: Path, stage: str, task: str) -> list[dict[str, Any]]:
    text = (folder / 'predictions' / stage / f'{task}.jsonl').read_text()
    return [json.loads(line) for line in text.splitlines()]


def given(monkeypatch: pytest.MonkeyPatch, letters: Any) -> None:
    """A router that answers with these letters."""
    def ask(state: Any, asked: Sequence[Sample], known: Sequence[str], reading: Letters) -> Routed:
        chosen = [letters(sample) for sample in asked]
        return Routed(chosen, chosen, 0)
    monkeypatch.setattr(method, 'ask_router', ask)


def test_experts_are_those_of_single_tasks_bit_for_bit(finished: Path, single: Path) -> None:
    for stage in (FIRST, SECOND):
        mine, theirs = adapter(finished, stage), adapter(single, stage)
        own = {name: value for name, value in mine.items() if '.routing.' not in name}
        assert len(own) == len(theirs) > 0
        for name, value in theirs.items():
            assert torch.equal(value, own[name.replace('.lora.', '.expert.')]), name


def test_the_router_is_trained_beside_them(finished: Path) -> None:
    start, one, two = (adapter(finished, stage) for stage in ('00-zero-shot', FIRST, SECOND))
    router = [name for name in start if '.routing.' in name]
    assert router and all(torch.equal(start[name], one[name]) for name in router), 'one expert needs no router'
    assert any(not torch.equal(start[name], two[name]) for name in router if name.endswith('.B'))
    card = json.loads((finished / 'stages' / SECOND / 'adapter' / 'card.json').read_text())
    assert {block['name']: block['active'] for block in card['bank']['blocks']} == {'expert': True, 'routing': False}
    router = sum(tensor.numel() for name, tensor in one.items() if '.routing.' in name)
    expert = sum(tensor.numel() for name, tensor in one.items() if '.routing.' not in name)  # with the projector
    phases = [(record['stage'], record['folder'], record['trained']) for record in events(finished, 'phase_done')]
    assert phases == [(FIRST, '0-fit-done', expert), (SECOND, '0-router-done', router), (SECOND, '1-fit-done', expert)]


def test_the_records_of_the_router(finished: Path) -> None:
    """n of each seen task, none of unseen ones, drawn once, by reference, from the training set."""
    kept = [json.loads((finished / 'stages' / stage / 'methods' / 'methods.json').read_text())['MRLoRA']['records']
            for stage in ('00-zero-shot', FIRST, SECOND)]
    assert kept[:2] == [{}, {}] and list(kept[2]) == ['TextVQA', 'GQA']
    assert all(len({tuple(one) for one in rows}) == 3 for rows in kept[2].values())
    with opened(of_two_tasks(), finished) as run:
        run.restore(SECOND)
        state, plugin = run.state, run.state.hooks.plugins['MRLoRA']
        state.index = 1
        records = routing_records(state, plugin.records, plugin.pool)
        assert Counter(one.turns[1].text for one in records) == {'A': 3, 'B': 3}
        assert all('-train-' in one.id for one in records), 'never a test row'
        assert records.fingerprint == routing_records(state, plugin.records, plugin.pool).fingerprint
        assert [list(one) for one in draw_records(state, 0, 3)] == kept[2]['TextVQA'], 'the seed and the task say which'


def test_routes_are_live_and_counted(finished: Path) -> None:
    assert {line['route'] for line in answers(finished, FIRST, 'textvqa')} == {FIRST}
    assert {line['route'] for line in answers(finished, SECOND, 'gqa')} <= {FIRST, SECOND}
    assert all('route' not in line for line in answers(finished, '00-zero-shot', 'gqa'))
    last = events(finished, 'cell_scored')[-1]
    assert last['stage'] == SECOND and 0 <= last['notes']['MRLoRA.unparsed'] <= 3 and last['notes']['MRLoRA.shortened'] == 0


def test_a_perfect_router_gives_the_single_task_row(finished: Path, single: Path, again: Any, monkeypatch) -> None:
    given(monkeypatch, lambda sample: 'A' if sample.id.startswith('textvqa') else 'B')
    folder = again()
    for task in ('textvqa', 'gqa'):
        assert answers(folder, SECOND, task) == answers(single, SECOND, task)


def test_live_is_offline_for_the_same_letters(again: Any, monkeypatch) -> None:
    """Constant routers are the experts' own rows; any other choice picks from those rows."""
    rows = {}
    for letter in 'AB':
        given(monkeypatch, lambda sample, letter=letter: letter)
        rows[letter] = again()
    assert {line['route'] for line in answers(rows['B'], SECOND, 'textvqa')} == {SECOND}
    given(monkeypatch, lambda sample: 'AB'[int(sample.id.rsplit('-', 1)[1]) % 2])
    mixed = again()
    for task in ('textvqa', 'gqa'):
        offline = zip(answers(rows['A'], SECOND, task), answers(rows['B'], SECOND, task), strict=True)
        assert answers(mixed, SECOND, task) == [pair[i % 2] for i, pair in enumerate(offline)]


def test_an_interrupted_evaluation_asks_the_router_once(finished: Path, again: Any, monkeypatch) -> None:
    expected = [(finished / 'predictions' / SECOND / f'{task}.jsonl').read_bytes() for task in ('textvqa', 'gqa')]
    asked_anew = again()
    monkeypatch.setattr(routing, 'parse_letter', None)  # would fail if the router was asked
    kept = again(keep_routes=True)
    for folder in (asked_anew, kept):
        assert [(folder / 'predictions' / SECOND / f'{task}.jsonl').read_bytes() for task in ('textvqa', 'gqa')] == expected
    assert events(kept, 'cell_scored')[-1]['notes'] == events(finished, 'cell_scored')[-1]['notes']


# --- the model as a router ------------------------------------------------------------------------------------------


@pytest.fixture
def last_stage(engine: Any, finished: Path, tmp_path: Path) -> Iterator[Any]:
    """The run at its last stage, in a copy."""
    shutil.copytree(finished, tmp_path / 'run')
    with opened(of_two_tasks(), tmp_path / 'run') as run:
        run.restore(SECOND)
        yield run


def test_the_router_answers_over_the_projector_of_the_start(last_stage: Any) -> None:
    state = last_stage.state
    plugin, before = state.hooks.plugins['MRLoRA'], last_stage.tensors()
    start = adapter(state.run.path, '00-zero-shot')
    projector = [name for name in start if name.startswith('model.')]
    assert projector and any(not torch.equal(start[name], before[name]) for name in projector)
    with plugin.router_in_place(state):
        assert state.bank.active == ('routing',)
        assert all(torch.equal(last_stage.tensors()[name], start[name]) for name in projector)
    assert state.bank.active == ('expert',)
    assert all(torch.equal(last_stage.tensors()[name], value) for name, value in before.items())


def asked_of(run: Any) -> list[Sample]:
    state = run.state
    questions = state.hooks.plugins['MRLoRA'].pool.questions(state, 2)
    return [questions.ask(sample) for task in range(2) for sample in run.test_samples(task)]


def test_argmax_takes_the_letter_with_the_highest_logit(last_stage: Any) -> None:
    """In batches, where the letter stands: behind the space that this tokenizer writes first."""
    state = last_stage.state
    backbone, asked = state.backbone, asked_of(last_stage)
    with state.hooks.plugins['MRLoRA'].router_in_place(state), torch.no_grad(), evaluating(backbone):
        found = routing.likeliest_letters(state, asked, [4, 0, 2], ['A', 'B'])
        for letter, position in zip(found, [4, 0, 2], strict=True):
            sample, scores = asked[position], []
            for known in 'AB':
                turns = (*sample.turns, Turn('gpt', known))
                rows = [backbone.encode(Sample('x', '', sample.images, turns), training=True)]
                scores.append(-backbone.forward(backbone.collate(rows, padding_side='right')).token_loss_N[1])
            assert letter == 'AB'[int(scores[1] > scores[0])], 'the letter is the second labelled token'


def test_fallbacks_decide_what_is_not_read(last_stage: Any, monkeypatch) -> None:
    state, asked = last_stage.state, asked_of(last_stage)[:3]
    monkeypatch.setattr(routing, 'likeliest_letters', lambda state, asked, positions, known: ['B'] * len(positions))
    monkeypatch.setattr(type(state), 'ask', lambda self, asked, **_: ['A', 'nothing', 'B!?'][:len(asked)])

    def found(**reading: Any) -> Routed:
        shutil.rmtree(state.store('MRLoRA'))
        state.rng = np.random.default_rng(5)
        return routing.ask_router(state, asked, ['A', 'B'], Letters(**reading))

    assert found() == Routed(['A', 'B', 'B'], ['A', 'nothing', 'B!?'], 1)
    assert found(fallback='base').letters == ['A', None, 'B']
    drawn = found(fallback='random').letters
    assert drawn[::2] == ['A', 'B'] and drawn[1] in 'AB' and drawn == found(fallback='random').letters
    upstream = found(parse='upstream')
    assert upstream.unparsed == 2 and set(upstream.letters) <= set('AB') and upstream == found(parse='upstream')


def test_base_answers_when_no_letter_is_read(last_stage: Any, monkeypatch) -> None:
    given(monkeypatch, lambda sample: None)
    assert set(last_stage.routes(last_stage.state.stream[0], last_stage.test_samples(0))) == {'00-zero-shot'}


# --- starts and places ----------------------------------------------------------------------------------------------


def test_where_the_router_starts(last_stage: Any, tmp_path: Path) -> None:
    from coinkit.backbones.peft_io import export_peft

    state = last_stage.state
    plugin, trained = state.hooks.plugins['MRLoRA'], last_stage.tensors()
    export_peft(state.bank, tmp_path / 'peft', blocks=['expert'])
    start = adapter(state.run.path, '00-zero-shot')

    def router(init: str) -> dict[str, torch.Tensor]:
        last_stage.restore(SECOND)
        plugin.router_init, plugin.router_start, state.index = init, str(tmp_path / 'peft'), 1
        plugin.coinkit_begin_task(state)
        begun = last_stage.tensors()
        assert all(torch.equal(value, start[name]) for name, value in begun.items() if '.routing.' not in name)
        return {name: value for name, value in begun.items() if '.routing.' in name}

    for init, source, block in (('base', start, 'routing'), ('previous', trained, 'routing'), ('merged', trained, 'expert')):
        expected = {name: source[name.replace('.routing.', f'.{block}.')] for name in router(init)}
        assert all(torch.equal(value, expected[name]) for name, value in router(init).items()), init


def test_vision_lora_adapts_the_tower_too(engine: Any, tmp_path: Path) -> None:
    """Every linear of the tower beside those of the language model: sum of r (d_in + d_out) more numbers."""
    with opened(of_two_tasks('methods.0.vision_lora=True'), tmp_path / 'vision') as run, \
            opened(of_two_tasks(), tmp_path / 'plain') as plain:
        bank, model = run.state.bank, run.state.backbone.model
        tower = [name for name in bank.targets if name.startswith(run.state.backbone.vision_tower)]
        layers = model.config.vision_config.num_hidden_layers
        assert len(tower) == 6 * layers and set(bank.targets) - set(tower) == set(plain.state.bank.targets)
        extra = sum(bank.layers[name].in_features + bank.layers[name].out_features for name in tower)
        ours, theirs = (each.num_parameters(active=True) for each in (bank, plain.state.bank))
        assert ours - theirs == 16 * extra
        sample = run.state.train_samples(0)[0]
        backbone = run.state.backbone
        batch = backbone.collate([backbone.encode(sample, training=True)], padding_side='right')
        backbone.forward(batch).token_loss_N.sum().backward()
        assert any(model.get_submodule(name).bank_B.grad is not None for name in tower)


def test_a_prompt_that_cannot_fit_is_told_before_the_first_step(engine: Any, tmp_path: Path) -> None:
    long = of_two_tasks('benchmark.tasks.3.description=' + 'words ' * 200)
    with pytest.raises(ConfigError, match='routing prompt for 2 experts does not fit'):
        engine.train(long, tmp_path / 'long')
    assert not (tmp_path / 'long').exists(), 'a start that is refused leaves nothing'
