"""Whole runs of the embedded mini model: what methods leave behind, continuing, appending, starting from another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from coinkit.errors import ConfigError, RunError
from coinkit.testing import small_runs
from coinkit.testing.small_runs import TRAINS_ALL, adapter, differing, digest, events, logged, matrix

ROOT = Path(__file__).resolve().parents[2]
STATEFUL = f'plugins={json.dumps([str(ROOT / "tests" / "kill" / "stateful.py")])}'
ONE = ('TextVQA',)
NO_ZERO = 'evaluation.zero_shot=False'


def config(*more: str, name: str = 'finetune', tasks: tuple[str, ...] = small_runs.TASKS):
    return small_runs.config(name, *TRAINS_ALL, *more, tasks=tasks)


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> dict[str, Path]:
    """Runs that several tests read, by name."""
    return {'folder': tmp_path_factory.mktemp('finished')}


@pytest.fixture
def fine_tuned(mini_engine, finished) -> Path:
    """FineTune on two tasks. Read only: copy it to change it."""
    if 'fine_tuned' not in finished:
        folder = finished['folder'] / 'fine_tuned'
        mini_engine.train(config(), folder)
        finished['fine_tuned'] = folder
    return finished['fine_tuned']


# --- what a run leaves --------------------------------------------------------------------------------------------


def test_a_run_leaves_adapters_predictions_matrix_and_log(fine_tuned) -> None:
    assert [path.name for path in sorted((fine_tuned / 'stages').iterdir())] == ['00-zero-shot', '01-textvqa', '02-gqa']
    assert all((fine_tuned / 'stages' / stage / 'adapter' / 'card.json').is_file() for stage in ('01-textvqa', '02-gqa'))
    found = matrix(fine_tuned)
    assert found['tasks'] == ['TextVQA', 'GQA'] and found['counts'] == {'TextVQA': 3, 'GQA': 3}
    assert [[score is None for score in row] for row in found['scores']] == [[False, True], [False, False]]
    assert None not in found['zero_shot']
    lines = (fine_tuned / 'predictions' / '02-gqa' / 'textvqa.jsonl').read_text().splitlines()
    assert {'id', 'prediction', 'references', 'context'} == json.loads(lines[0]).keys() and len(lines) == 3
    assert {'stage', 'task', 'phase', 'step', 'loss', 'lr', 'grad_norm', 'samples_per_s'} <= logged(fine_tuned)[0].keys()
    assert not list(fine_tuned.rglob('*.pkl')) and not list(fine_tuned.rglob('*.pt'))


def test_one_answer_length_for_every_task(mini_engine, tmp_path) -> None:
    answers = {}
    for longest in (1, 8):
        run = tmp_path / str(longest)
        mini_engine.train(small_runs.config('zero_shot', f'evaluation.max_new_tokens={longest}', tasks=ONE), run)
        lines = next(run.rglob('textvqa.jsonl')).read_text().splitlines()
        answers[longest] = [json.loads(line)['prediction'] for line in lines]
    assert all(long.startswith(short) and len(long) > len(short) for short, long in zip(*answers.values(), strict=True))


def test_the_same_command_again_changes_nothing(mini_engine, fine_tuned) -> None:
    before = digest(fine_tuned)
    assert not differing(before, mini_engine.train(config(), fine_tuned))
    assert len(events(fine_tuned, 'stage_started')) == 2, 'nothing is trained twice'


def test_the_projector_is_carried_and_upstream_forgets_it(mini_engine, tmp_path, fine_tuned) -> None:
    carried = {stage: {name: value for name, value in adapter(fine_tuned, stage).items() if 'projector' in name}
               for stage in ('00-zero-shot', '01-textvqa', '02-gqa')}
    assert carried['01-textvqa'] and all(not torch.equal(carried['00-zero-shot'][name], value)
                                         for name, value in carried['01-textvqa'].items())
    mini_engine.train(config('projector_carry=upstream', 'schedule.lr=1e-8', NO_ZERO), tmp_path / 'upstream')
    forgotten = {stage: adapter(tmp_path / 'upstream', stage) for stage in ('01-textvqa', '02-gqa')}
    weight = next(name for name in carried['02-gqa'] if name.endswith('linear_1.weight'))
    assert torch.allclose(carried['00-zero-shot'][weight], forgotten['01-textvqa'][weight], atol=1e-5)
    assert not torch.allclose(carried['00-zero-shot'][weight], forgotten['02-gqa'][weight], atol=1e-2)
    mini_engine.train(config('schedule.lr=1e-8', NO_ZERO), tmp_path / 'fixed')
    assert torch.allclose(carried['00-zero-shot'][weight], adapter(tmp_path / 'fixed', '02-gqa')[weight], atol=1e-5)


def test_joint_writes_only_the_last_row(mini_engine, tmp_path) -> None:
    mini_engine.train(config(name='joint'), tmp_path / 'run')
    assert matrix(tmp_path / 'run')['scores'][0] == [None, None]
    assert None not in matrix(tmp_path / 'run')['scores'][1]
    assert not (tmp_path / 'run' / 'stages' / '01-textvqa').exists()
    assert logged(tmp_path / 'run')[-1]['step'] == 6, "joint_steps='match': the steps of both tasks"


def test_zero_shot_writes_only_row_zero_and_no_adapter(mini_engine, tmp_path) -> None:
    mini_engine.train(small_runs.config('zero_shot', NO_ZERO), tmp_path / 'run')
    assert matrix(tmp_path / 'run')['scores'] == [[None, None], [None, None]]
    assert None not in matrix(tmp_path / 'run')['zero_shot']
    assert not list((tmp_path / 'run').rglob('adapter')) and not (tmp_path / 'run' / 'log.jsonl').exists()


def test_single_task_experts_depend_on_their_task_alone(mini_engine, tmp_path, fine_tuned) -> None:
    mini_engine.train(config(NO_ZERO, name='single_task'), tmp_path / 'forward')
    mini_engine.train(config(NO_ZERO, 'order=["GQA","TextVQA"]', name='single_task'), tmp_path / 'backward')
    for forward, backward in (('01-textvqa', '02-textvqa'), ('02-gqa', '01-gqa')):
        one, other = adapter(tmp_path / 'forward', forward), adapter(tmp_path / 'backward', backward)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    single, sequential = adapter(tmp_path / 'forward', '01-textvqa'), adapter(fine_tuned, '01-textvqa')
    assert all(torch.equal(single[name], sequential[name]) for name in sequential)
    predictions = (tmp_path / 'forward' / 'predictions' / '02-gqa' / 'textvqa.jsonl').read_text().splitlines()
    assert {json.loads(line)['route'] for line in predictions} == {'01-textvqa'}


# --- phases -------------------------------------------------------------------------------------------------------


def test_a_phase_trains_what_it_names_and_the_next_starts_from_everything(mini_engine, tmp_path, monkeypatch) -> None:
    from coinkit.engine.trainer import PhaseTrainer

    seen = {}
    run = PhaseTrainer.run

    def look(self):
        seen[self.state.phase.name] = {'projector' if 'projector' in name else 'bank' for name in self.state.trainable()}
        run(self)

    monkeypatch.setattr(PhaseTrainer, 'run', look)
    methods = "methods=[{'type': 'ThreePhases', 'rank': 4, 'alpha': 8}]"
    mini_engine.train(small_runs.config('finetune', STATEFUL, methods, NO_ZERO, tasks=ONE), tmp_path / 'run')
    assert seen == {'blocks': {'bank'}, 'pictures': {'projector'}, 'all': {'bank', 'projector'}}
    records = logged(tmp_path / 'run')
    assert [(record['phase'], record['step']) for record in records] == [
        ('blocks', 2), ('blocks', 3), ('pictures', 2), ('pictures', 3), ('all', 2)]


def test_a_phase_that_names_nothing_known_is_an_error(mini_engine, tmp_path, monkeypatch) -> None:
    from coinkit.methods.fine_tune import FineTune
    from coinkit.types import Phase

    monkeypatch.setattr(FineTune, 'coinkit_phases', lambda self, state: [Phase(trains=('projectr',))], raising=False)
    with pytest.raises(RunError, match="trains 'projectr'.*Did you mean 'projector'"):
        mini_engine.train(config(NO_ZERO, tasks=ONE), tmp_path / 'run')


# --- the loss -----------------------------------------------------------------------------------------------------


@pytest.fixture
def losses(mini_engine, tmp_path):
    """Losses and final tensors of a run of one task without dropout."""
    def run(name: str, *more: str) -> tuple[list[float], dict[str, torch.Tensor]]:
        settings = ('methods.0.dropout=0.0', NO_ZERO, 'schedule.global_batch_size=4', 'schedule.lr=1e-3',
                    'schedule.eps=1e-4', 'checkpoint.every_steps=1', 'evaluation.limit=1', *more)
        mini_engine.train(config(*settings, tasks=ONE), tmp_path / name)
        return [record['loss'] for record in logged(tmp_path / name)], adapter(tmp_path / name, '01-textvqa')
    return run


def test_accumulated_micro_batches_equal_one_big_batch(losses) -> None:
    big, weights = losses('big', 'schedule.micro_batch_size=4')
    small, same = losses('small', 'schedule.micro_batch_size=1')
    assert big == pytest.approx(small, abs=1e-6, rel=1e-6)
    assert len(big) == 3 and all(torch.allclose(weights[name], same[name], atol=1e-6) for name in weights)
    one, _ = losses('mean of one', 'schedule.micro_batch_size=4', 'schedule.loss_norm=microbatch')
    assert one == pytest.approx(big, rel=1e-6), 'one micro-batch: the two means are the same'
    means, _ = losses('mean of means', 'schedule.micro_batch_size=1', 'schedule.loss_norm=microbatch')
    assert means[0] != pytest.approx(big[0], rel=1e-4), 'answers of unequal length: a mean of means is not the mean'


def test_gradient_checkpointing_changes_no_loss(losses) -> None:
    plain, weights = losses('plain', 'schedule.micro_batch_size=2')
    recomputed, same = losses('recomputed', 'schedule.micro_batch_size=2', 'schedule.gradient_checkpointing=True')
    assert plain == recomputed
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_bfloat16_keeps_trained_tensors_in_float32(losses) -> None:
    plain, _ = losses('float32', 'schedule.micro_batch_size=2')
    rounded, weights = losses('bfloat16', 'schedule.micro_batch_size=2', 'backbone.dtype=bfloat16')
    assert rounded == pytest.approx(plain, rel=0.03) and rounded != plain
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_a_task_overrides_the_schedule(mini_engine, tmp_path) -> None:
    override = "benchmark.tasks.3.schedule={'steps': 5, 'lr': 3e-4, 'lr_schedule': 'constant', 'warmup_steps': 0}"
    mini_engine.train(config(override, NO_ZERO, 'schedule.lr_schedule=constant'), tmp_path / 'run')
    last = {record['task']: record for record in logged(tmp_path / 'run')}
    assert (last['TextVQA']['step'], last['TextVQA']['lr']) == (3, 1e-2)
    assert (last['GQA']['step'], last['GQA']['lr']) == (5, 3e-4)


# --- which cells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('policy', 'measured'), [('seen', [[1, 0], [1, 1]]), ('all', [[1, 1], [1, 1]]),
                                                  ('last', [[1, 0], [0, 1]])])
def test_evaluation_policies(mini_engine, tmp_path, policy: str, measured: list[list[int]]) -> None:
    mini_engine.train(config(f'evaluation.policy={policy}', NO_ZERO, 'schedule.steps=1'), tmp_path / 'run')
    found = matrix(tmp_path / 'run')
    assert [[int(score is not None) for score in row] for row in found['scores']] == measured
    assert found['zero_shot'] is None


def test_test_fills_missing_cells_only(mini_engine, tmp_path) -> None:
    run, settings = tmp_path / 'run', config('evaluation.policy=last', NO_ZERO, 'schedule.steps=1')
    mini_engine.train(settings, run)
    before = digest(run)
    mini_engine.test(settings, run, stage='1', tasks=['GQA'])
    mini_engine.test(settings, run, stage='zero')
    found = matrix(run)
    assert found['scores'][0][1] is not None and found['scores'][1][0] is None and None not in found['zero_shot']
    mini_engine.test(settings, run)  # the last stage
    assert None not in matrix(run)['scores'][1]
    cells = [(record['stage'], record['task']) for record in events(run, 'cell_scored')]
    assert len(cells) == len(set(cells)) == 6, 'no cell is measured twice'
    changed = differing(before, digest(run))
    assert all(name == 'matrix.json' or name not in before for name in changed)


def test_test_names_the_stages_and_tasks_there_are(mini_engine, tmp_path, fine_tuned) -> None:
    with pytest.raises(RunError, match='there is no run here'):
        mini_engine.test(config(), tmp_path / 'nothing')
    with pytest.raises(ConfigError, match="unknown stage '7'.*Allowed: 00-zero-shot, 01-textvqa, 02-gqa"):
        mini_engine.test(config(), fine_tuned, stage='7')
    with pytest.raises(ConfigError, match="unknown task 'GQ'. Did you mean 'GQA'"):
        mini_engine.test(config(), fine_tuned, tasks=['GQ'])


def test_predict_answers_by_hand(mini_engine, fine_tuned, tmp_path) -> None:
    from coinkit.datasets.mini.dataset import Mini
    from coinkit.engine.predict import predict

    sample = Mini('textvqa', split='test', task='TextVQA')[0]
    sample.images[0].load().save(tmp_path / 'drawn.png')
    answer = predict(fine_tuned, stage='1', images=[str(tmp_path / 'drawn.png')], prompt=sample.turns[0].text,
                     max_new_tokens=3, device='cpu')
    first = (fine_tuned / 'predictions' / '01-textvqa' / 'textvqa.jsonl').read_text().splitlines()[0]
    assert answer == json.loads(first)['prediction'], 'as evaluation answered the same question'
    with pytest.raises(RunError, match='not a run directory'):
        predict(tmp_path, stage=None, images=[], prompt='?')


# --- seeds, orders, appended tasks, init_from ---------------------------------------------------------------------


def test_seeds_and_orders_are_runs_of_their_own(mini_engine, tmp_path, capsys) -> None:
    orders = "benchmark.orders={'back': ['GQA', 'TextVQA']}"
    mini_engine.train(config('seeds=[0,1]', "orders=['back']", orders, NO_ZERO, 'schedule.steps=1', 'evaluation.limit=1'),
                      tmp_path / 'run')
    runs = sorted(path.parent for path in tmp_path.rglob('ledger.jsonl'))
    assert [str(path.relative_to(tmp_path / 'run')) for path in runs] == ['order-back/seed-0', 'order-back/seed-1']
    assert all(matrix(path)['tasks'] == ['GQA', 'TextVQA'] for path in runs)
    first, second = (adapter(path, '01-gqa') for path in runs)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    from coinkit.engine.plan import show_plan

    assert show_plan(config('seeds=[0,1,2]', "orders=['back']", orders, NO_ZERO, 'schedule.steps=1',
                            'evaluation.limit=1'), tmp_path / 'run') == 0
    assert show_plan(config('seeds=[0,1]', "orders=['back']", orders, NO_ZERO), tmp_path / 'run') == 2
    assert 'was started with another config' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['finetune', 'moelora', 'single_task'])
def test_an_appended_task_continues_the_run(mini_engine, tmp_path, fine_tuned, name: str) -> None:
    grown, run = tmp_path / 'grown', tmp_path / 'run'
    mini_engine.train(config(name=name, tasks=ONE), grown)
    found = mini_engine.train(config(name=name), grown)
    whole = digest(fine_tuned) if name == 'finetune' else mini_engine.train(config(name=name), run)
    assert not differing(whole, found)


def test_init_from_a_run_and_from_one_of_its_stages(mini_engine, tmp_path, fine_tuned) -> None:
    for source, stage in ((str(fine_tuned), '02-gqa'), (f'{fine_tuned}:1', '01-textvqa')):
        run = tmp_path / stage
        mini_engine.train(config(f'init_from={source}', NO_ZERO, 'schedule.lr=1e-8', 'methods.0.dropout=0.0', tasks=ONE),
                          run)
        old, start, end = adapter(fine_tuned, stage), adapter(run, '00-zero-shot'), adapter(run, '01-textvqa')
        assert all(torch.equal(old[name], start[name]) for name in old)
        assert all(torch.allclose(old[name], end[name], atol=1e-5) for name in old)


def test_init_from_a_peft_folder_starts_where_it_ended(mini_engine, tmp_path, fine_tuned) -> None:
    from coinkit.cli.main import main

    folder = tmp_path / 'peft'
    assert main(['export', str(fine_tuned), '--stage', '2', '--to', 'peft', '--out', str(folder)]) == 0
    mini_engine.train(small_runs.config('finetune', f'init_from={folder}', 'schedule.lr=1e-8', tasks=ONE), tmp_path / 'run')
    old = {name: value for name, value in adapter(fine_tuned, '02-gqa').items() if name.startswith('bank.')}
    start = adapter(tmp_path / 'run', '00-zero-shot')
    assert old and all(torch.equal(start[name], value) for name, value in old.items())


def test_a_stage_that_lacks_what_was_trained_since_is_refused(mini_engine, fine_tuned) -> None:
    from coinkit.engine import builder
    from coinkit.engine.progress import Reporter
    from coinkit.engine.run_dir import RunDir
    from coinkit.engine.strategies.one_device import OneDevice

    strategy = OneDevice(device='cpu')
    strategy.setup()
    state = builder.build_state(config(), RunDir(fine_tuned), strategy, Reporter(active=False))
    state.load_stage('01-textvqa')
    state.trained.add('model.vision_tower.late')
    with pytest.raises(RunError, match="does not hold 'model.vision_tower.late', which was trained since"):
        state.load_stage('01-textvqa')


# --- the plan -----------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys) -> None:
    from coinkit.cli.main import main

    monkeypatch.chdir(tmp_path)
    arguments = ['train', 'mini/finetune', '--dry-run', '--cfg-options', *small_runs.options()]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert '01-textvqa' in text and '02-gqa' in text and 'train' in text and 'GiB' in text
    assert not list(tmp_path.iterdir())
