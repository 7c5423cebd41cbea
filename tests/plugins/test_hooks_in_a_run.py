"""Every hook of a run, each in a tiny real run of the mini stream: what it is given, and that what it does takes place.

A hook ships only with a test called `test_hook_NAME` (`tests/test_hookspecs.py`); these are they.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from coinkit import BadImage, Cell, Phase, Query
from coinkit.engine import launch
from coinkit.registry import METHODS
from coinkit.testing import small_runs
from coinkit.testing.small_runs import adapter, logged, matrix

ONE, TWO = ('TextVQA',), ('TextVQA', 'GQA')
FIRST, SECOND = '01-textvqa', '02-gqa'
LORA = {'type': 'FineTune', 'rank': 2, 'alpha': 4.0, 'dropout': 0.0}
WRITE_REPORT = launch.write_report  # before the fixture leaves it out

Run = Callable[..., Path]


@pytest.fixture
def run(mini_engine, tmp_path: Path) -> Iterator[Run]:
    """`run(Probe)` trains tiny tasks with that method over a small LoRA; the same name again continues the run."""

    def go(probe: type | None = None, *options: str, tasks: tuple[str, ...] = ONE, lora: bool = True,
           name: str = 'run') -> Path:
        methods = [LORA] * lora
        if probe is not None:
            METHODS.add('Probe', probe)
            methods = [*methods, {'type': 'Probe'}]
        config = small_runs.config('finetune', f'methods={methods!r}', 'schedule.steps=2', 'evaluation.zero_shot=False',
                                  *options, tasks=tasks)
        mini_engine.train(config, tmp_path / name)
        return tmp_path / name

    yield go
    METHODS.drop('(this process)')


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- the model and the task ---------------------------------------------------------------------------------------


def test_hook_prepare_model(run: Run) -> None:
    seen = []

    class Own:
        def coinkit_prepare_model(self, backbone, config):
            seen.append((backbone.model.training, config.seed, any(p.requires_grad for p in backbone.model.parameters())))
            bank = backbone.insert_bank()
            bank.add('mine', rank=1, scale=1.0, generator=torch.Generator().manual_seed(0))
            return bank

    folder = run(Own, lora=False)
    assert seen == [(False, 0, False)], 'once, with everything frozen'
    assert adapter(folder, FIRST) and all('.mine.' in key for key in adapter(folder, FIRST)), 'nothing else trained'


def test_hook_begin_task(run: Run) -> None:
    seen = []

    class Freezes:
        def coinkit_begin_task(self, state):
            seen.append((state.index, state.task.name, state.phase.name, state.step, len(state.stream)))
            if state.index == 1:
                state.backbone.model.get_submodule(state.backbone.projector).requires_grad_(False)

    folder = run(Freezes, tasks=TWO)
    assert seen == [(0, 'TextVQA', 'begin', 0, 2), (1, 'GQA', 'begin', 0, 2)]
    before, after = adapter(folder, FIRST), adapter(folder, SECOND)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and not any('projector' in key for key in changed)
    assert any('projector' in key for key in before)


def test_hook_phases(run: Run) -> None:
    class Twice:
        def coinkit_phases(self, state):
            if state.index == 1:
                return None  # the default: one phase, fit
            few = state.draw(state.train_samples(), 3)
            return [Phase('warm', samples=few, trains=('projector',), schedule={'steps': 1}), Phase('main')]

    folder = run(Twice, tasks=TWO)
    done = [(line['stage'], line['phase'], line['step']) for line in logged(folder)]
    assert done == [(1, 'warm', 1), (1, 'main', 2), (2, 'fit', 2)]


def test_hook_phases_that_trains_nothing(run: Run) -> None:
    class Never:
        def coinkit_phases(self, state):
            return []

    folder = run(Never)
    assert not (folder / 'log.jsonl').exists() and not (folder / 'stages' / FIRST).exists()


def test_hook_mix_samples(run: Run) -> None:
    sizes, trained_on = [], []

    class Rehearses:
        """Adds samples of the tasks before: what a replay method does."""

        def coinkit_mix_samples(self, state, mix):
            for index in range(state.index):
                mix.add(state.draw(state.train_samples(index), 4), repeat=1000)
            sizes.append((state.phase.name, len(mix), len(state.train_samples())))

        def coinkit_loss_terms(self, state, batch, output):
            trained_on.append((state.task.name, set(batch.ids)))

    run(Rehearses, tasks=TWO)
    (_, first, own), (phase, second, _) = sizes
    assert (phase, first) == ('fit', own) and second == own + 4000
    assert all(sample.startswith('textvqa-train') for task, ids in trained_on if task == 'TextVQA' for sample in ids)
    old = {sample for task, ids in trained_on if task == 'GQA' for sample in ids if sample.startswith('textvqa-train')}
    assert old and len(old) <= 4


def test_hook_end_task(run: Run) -> None:
    seen: dict[str, Any] = {}

    class Looks:
        def coinkit_end_task(self, state):
            seen['at'] = (state.phase.name, state.task.name)
            samples = state.draw(state.train_samples(), 3)
            for batch, output in state.each_batch(samples, grad=True, batch_size=2):
                seen.setdefault('rows', []).append(len(batch))
                seen['grad'] = output.token_loss_N.requires_grad
            with torch.no_grad():
                for parameter in state.trainable().values():
                    parameter.zero_()

    folder = run(Looks)
    assert seen == {'at': ('end', 'TextVQA'), 'rows': [2, 1], 'grad': True}
    assert not any(value.any() for value in adapter(folder, FIRST).values()), 'it ran before the adapter was saved'


class Torn:
    """A picture that cannot be opened."""

    key = 'torn'

    def load(self):
        raise BadImage('torn.jpg: cannot be decoded.')


@pytest.mark.parametrize(('policy', 'rows'), [('skip', [2, 1]), ('text_only', [2, 2]), ('error', [2])])
def test_a_data_pass_does_with_torn_pictures_what_the_config_says(run: Run, policy: str, rows: list[int]) -> None:
    seen = []

    class Looks:
        def coinkit_end_task(self, state):
            samples = [state.train_samples()[i] for i in range(4)]
            samples[3] = replace(samples[3], images=(Torn(),))
            seen.extend(len(batch) for batch, _ in state.each_batch(samples, batch_size=2))

    with pytest.raises(BadImage) if policy == 'error' else nullcontext():
        run(Looks, f'data.on_bad_image={policy}')
    assert seen == rows


def test_what_is_drawn_is_random_and_the_same_again(run: Run) -> None:
    drawn = []

    class Draws:
        def coinkit_end_task(self, state):
            samples = state.train_samples()
            some = state.draw(samples, 20)
            drawn.append([some[i].id for i in range(20)])
            assert state.draw(samples, len(samples)) is samples

    run(Draws, name='one')
    run(Draws, name='two')
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 20 and not all(name.endswith(f'-{i}') for i, name in enumerate(drawn[0]))


# --- the step -----------------------------------------------------------------------------------------------------


def test_hook_loss_terms(run: Run) -> None:
    class Drags:
        def coinkit_loss_terms(self, state, batch, output):
            assert len(output.token_loss_N) == batch.num_label_tokens()
            return {'drag': -0.5 * output.token_loss_N.mean(), 'three': torch.tensor(3.0)}

    small = ('schedule.micro_batch_size=1',)  # two micro-batches a step
    plain, folder = run(None, *small, name='plain'), run(Drags, *small, name='drags')
    record = logged(folder)[-1]
    assert record['Probe.drag'] < 0 and record['Probe.three'] == pytest.approx(3.0), 'the mean over micro-batches'
    assert 'Probe.drag' not in logged(plain)[-1]
    assert not same(adapter(plain, FIRST), adapter(folder, FIRST)), 'the term has a gradient'


def test_hook_before_step(run: Run) -> None:
    norms = []

    class Stops:
        def coinkit_before_step(self, state):
            grads = state.strategy.grads()
            assert grads.keys() == state.trainable().keys()
            norms.append(float(sum(grad.norm() for grad in grads.values())))
            state.strategy.set_grads({name: torch.zeros_like(grad) for name, grad in grads.items()})
            state.note('noted', state.step)

    folder = run(Stops)
    assert len(norms) == 2 and min(norms) > 0
    assert logged(folder)[-1]['grad_norm'] == 0
    assert same(adapter(folder, '00-zero-shot'), {key: value for key, value in adapter(folder, FIRST).items()
                                                  if key in adapter(folder, '00-zero-shot')})


def test_hook_after_step(run: Run) -> None:
    steps = []

    class Forgets:
        def coinkit_after_step(self, state):
            steps.append(state.step)
            zeros = {name: torch.zeros_like(value) for name, value in state.strategy.full_params().items()}
            state.strategy.set_full_params(zeros)

    folder = run(Forgets)
    assert steps == [1, 2]
    assert not any(value.any() for value in adapter(folder, FIRST).values())


def test_a_note_is_logged_as_the_mean_over_steps(run: Run) -> None:
    class Notes:
        def coinkit_before_step(self, state):
            state.note('Probe.number', 10.0 * state.step)
            state.note('Probe.tensor', torch.tensor(2))

    record = logged(run(Notes))[-1]
    assert record['Probe.number'] == 5.0 and record['Probe.tensor'] == 2.0


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_hook_route(run: Run) -> None:
    asked: list[Query] = []

    class FirstStage:
        def coinkit_route(self, state, queries):
            asked.extend(queries)
            return [FIRST] * len(queries)

    folder = run(FirstStage, tasks=TWO)
    assert len(asked) == 3 * 3 and all(query.task is None and not hasattr(query, 'references') for query in asked)
    first, second = ([json.loads(line) for line in (folder / 'predictions' / stage / 'textvqa.jsonl').read_text()
                      .splitlines()] for stage in (FIRST, SECOND))
    assert {line['route'] for line in second} == {FIRST}
    assert first == second, 'the first stage answered, so nothing was forgotten'
    assert matrix(folder)['scores'][1][0] == matrix(folder)['scores'][0][0]


def test_hook_cell_scored(run: Run) -> None:
    cells: list[Cell] = []

    class Watches:
        def coinkit_cell_scored(self, state, cell):
            cells.append(cell)

    found = matrix(run(Watches, tasks=TWO))
    assert [(cell.stage, cell.task, cell.count) for cell in cells] == [(1, 'TextVQA', 3), (2, 'TextVQA', 3), (2, 'GQA', 3)]
    assert [cell.score for cell in cells] == [found['scores'][0][0], *found['scores'][1]]
    assert cells[0].metric == found['metrics']['TextVQA']


def test_hook_report_sections(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, 'write_report', WRITE_REPORT)
    paths = []

    class Tells:
        def coinkit_report_sections(self, run):
            paths.append(run.path)
            return [('What the probe saw', '<p>nothing &amp; more</p>')]

    folder = run(Tells)
    page = (folder / 'report.html').read_text()
    assert paths == [folder]
    assert 'What the probe saw' in page and '<p>nothing &amp; more</p>' in page


# --- checkpoints and logs -----------------------------------------------------------------------------------------


class Counts:
    """Counts steps over the whole run; fails once, in the last step of a task."""

    fails = False
    loaded: list[dict[str, Any]] = []

    def __init__(self) -> None:
        self.steps, self.last = 0, torch.zeros(2)

    def coinkit_before_step(self, state):
        if type(self).fails and state.step == 2:
            type(self).fails = False
            raise RuntimeError('the power went')
        self.steps += 1
        self.last = torch.tensor([state.index, state.step]).float()

    def coinkit_state_dict(self, state):
        return {'steps': self.steps, 'nested': {'last': self.last, 'names': [state.task.name]}}

    def coinkit_load_state_dict(self, state, blob):
        type(self).loaded.append(blob)
        self.steps, self.last = blob['steps'], blob['nested']['last']


@pytest.fixture
def counts() -> Iterator[type]:
    Counts.fails, Counts.loaded = False, []
    yield Counts


def stored(folder: Path, stage: str) -> dict[str, Any]:
    return json.loads((folder / 'stages' / stage / 'methods' / 'methods.json').read_text())['Probe']


def test_hook_state_dict(run: Run, counts: type) -> None:
    folder = run(counts, tasks=TWO)
    assert stored(folder, FIRST)['steps'] == 2 and stored(folder, SECOND)['steps'] == 4
    assert stored(folder, SECOND)['nested']['names'] == ['GQA']
    assert '__tensor__' in stored(folder, SECOND)['nested']['last'], 'tensors lie in safetensors, not in JSON'


def test_hook_load_state_dict(run: Run, counts: type) -> None:
    options = ('schedule.steps=3', 'checkpoint.every_steps=2')
    whole = run(counts, *options, name='whole')
    counts.fails, counts.loaded = True, []
    with pytest.raises(RuntimeError, match='the power went'):
        run(counts, *options, name='broken')
    counts.loaded = []
    folder = run(counts, *options, name='broken')
    inside = [blob for blob in counts.loaded if blob['steps'] == 2]
    assert inside and torch.equal(inside[0]['nested']['last'], torch.tensor([0.0, 1.0]))
    assert stored(folder, FIRST) == stored(whole, FIRST) and stored(folder, FIRST)['steps'] == 3
    assert same(adapter(folder, FIRST), adapter(whole, FIRST))


def test_hook_log(run: Run) -> None:
    records = []

    class Listens:
        def coinkit_log(self, state, record):
            records.append((state.task.name, dict(record)))

    folder = run(Listens)
    assert [record for _, record in records] == logged(folder)
    task, record = records[-1]
    assert (task, record['task'], record['step'], record['phase']) == ('TextVQA', 'TextVQA', 2, 'fit')
    assert {'loss', 'lr', 'grad_norm', 'samples_per_s', 'stage', 'phase_index'} <= record.keys()
