"""Replay: which rows are kept, that they are references, how they are mixed in, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from coinkit.data.references import check_unchanged, content_hash, quota, refer, reservoir
from coinkit.data.sampling import BatchSampler, Mix
from coinkit.errors import ConfigError, DataError
from coinkit.methods.replay import Replay
from coinkit.testing.small_runs import config, events, write_config
from coinkit.types import Phase, Sample, Turn

SIZES = {'A': 7, 'B': 30, 'C': 5}


class Rows:
    """Rows of one task; `words` may be changed after the fact."""

    def __init__(self, name: str, size: int):
        self.name, self.words = name, [f'{name} question {i}' for i in range(size)]

    @property
    def fingerprint(self) -> str:
        return str(hash(tuple(self.words)))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> Sample:
        picture = SimpleNamespace(key=f'{self.name}/{index}.png')
        return Sample(str(index), self.name, (picture,), (Turn('human', self.words[index]), Turn('gpt', 'yes')))


class Run:
    """As much of a run as Replay needs: three tasks, one after the other."""

    def __init__(self, folder: Path, *, seed: int = 0, batch_size: int = 8, others: dict[str, Rows] | None = None):
        self.folder, self.seed, self.others, self.opened = folder, seed, others or {}, 0
        self.stream = [SimpleNamespace(name=name) for name in SIZES]
        self.rows = {name: Rows(name, size) for name, size in SIZES.items()}
        self.index, self.phase = 0, Phase()
        self.strategy = SimpleNamespace(is_main=True)
        self.datasets = SimpleNamespace(build=lambda given, task: self.others[given['path']])
        self.schedule = lambda: SimpleNamespace(global_batch_size=batch_size)
        self.reporter = SimpleNamespace(bar=self._bar)

    @property
    def task(self) -> Any:
        return self.stream[self.index]

    @property
    def stage_name(self) -> str:
        return f'0{self.index + 1}-{self.task.name.lower()}'

    def train_samples(self, index: int | None = None) -> Rows:
        return self.rows[self.stream[self.index if index is None else index].name]

    def generator(self, *parts: Any) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, repr((self.seed, *parts)))))

    def store(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def _bar(self, label: str, total: int, unit: str):
        yield SimpleNamespace(advance=lambda count: None)

    def train(self, method: Replay) -> list[Mix]:
        """The mix of every task."""
        mixes = []
        for index in range(len(self.stream)):
            self.index = index
            mixes.append(Mix(self.train_samples()))
            method.coinkit_mix_samples(self, mixes[-1])
            method.coinkit_end_task(self)
        return mixes


def words(mix: Mix, start: int = 0) -> list[str]:
    return [mix[i].turns[0].text for i in range(start, len(mix))]


# --- which rows ---------------------------------------------------------------------------------------------------


def test_quota_keeps_k_rows_of_each_old_task_or_all_of_them(tmp_path) -> None:
    method, run = Replay(num_samples=10), Run(tmp_path)
    mixes = run.train(method)
    kept = Counter(reference.task for reference in method.memory)
    assert kept == {name: min(10, size) for name, size in SIZES.items()}
    assert len(set(method.memory)) == len(method.memory)
    assert [mix.own - size for mix, size in zip(mixes, SIZES.values(), strict=True)] == [0, 7, 17]
    assert all(text[0] in 'AB' for text in words(mixes[2], start=5)), 'only rows of tasks before'


def test_the_same_seed_keeps_the_same_rows(tmp_path) -> None:
    def rows(seed: int, **options: Any) -> list[Any]:
        method = Replay(num_samples=5, **options)
        Run(tmp_path, seed=seed).train(method)
        return method.memory

    for options in ({}, {'selection': 'reservoir'}):
        assert rows(1, **options) == rows(1, **options) != rows(2, **options)


def test_algorithm_r_keeps_every_row_with_the_same_probability() -> None:
    """Three tasks of 30 rows in all, 6 places, 2,000 runs; chi-square with 29 degrees of freedom, p > 1e-4."""
    sizes, capacity, runs = (7, 12, 11), 6, 2000
    generator, counts = torch.Generator().manual_seed(11), Counter()
    for _ in range(runs):
        kept: dict[int, int] = {}
        seen = 0
        for size in sizes:
            placed = reservoir(len(kept), seen, size, capacity, generator)
            kept |= {slot: seen + position for slot, position in placed.items()}
            seen += size
        assert sorted(kept) == list(range(capacity)) and len(set(kept.values())) == capacity
        counts.update(kept.values())
    total, share = sum(sizes), capacity / sum(sizes)
    chi_square = sum((counts[row] - runs * share) ** 2 for row in range(total)) / (runs * share * (1 - share))
    assert 8 < chi_square * (total - 1) / total < 66


def test_the_reservoir_holds_rows_of_the_stream_so_far(tmp_path) -> None:
    method, run = Replay(num_samples=6, selection='reservoir'), Run(tmp_path)
    mixes = run.train(method)
    assert len(method.memory) == 6 and method.seen == sum(SIZES.values())
    assert [mix.own - size for mix, size in zip(mixes, SIZES.values(), strict=True)] == [0, 6, 6]
    assert not any(text.startswith('C') for text in words(mixes[2], start=5))


def test_only_references_are_kept_and_people_can_read_them(tmp_path) -> None:
    method, run = Replay(num_samples=2), Run(tmp_path)
    run.train(method)
    state = method.coinkit_state_dict(run)
    assert all(len(one) == 3 and isinstance(one[1], int) and len(one[2]) == 16 for one in state['memory'])
    assert 'question' not in json.dumps(state)
    assert json.loads((tmp_path / 'Replay' / '03-c.json').read_text()) == state
    other = Replay(num_samples=2)
    other.coinkit_load_state_dict(run, json.loads(json.dumps(state)))
    assert other.memory == method.memory and method.stored_numbers(run) == 0


# --- how they are mixed in ----------------------------------------------------------------------------------------


def test_rows_may_appear_several_times_per_epoch(tmp_path) -> None:
    mix = Run(tmp_path).train(Replay(num_samples=2, replay_repeat=3))[1]
    assert mix.own == 30 + 3 * 2 and set(Counter(words(mix, start=30)).values()) == {3}


@pytest.mark.parametrize(('ratio', 'batch_size', 'old'), [(0.1, 8, 1), (0.1, 30, 3), (0.3, 10, 3), (0.25, 8, 2)])
def test_a_ratio_gives_old_rows_their_places_in_every_batch(tmp_path, ratio, batch_size, old) -> None:
    mix = Run(tmp_path, batch_size=batch_size).train(Replay(replay_mode='ratio', ratio=ratio, num_samples=4))[1]
    sampler = BatchSampler(mix.own, batch_size=batch_size, places=mix.places, num_samples=mix.own, seed=1)
    for number in range(-(-mix.own // (batch_size - old))):
        texts = [mix[i].turns[0].text for i in sampler.batch(number)]
        assert sum(text.startswith('A') for text in texts) == old


def test_cumulative_replays_everything_by_one_fingerprint(tmp_path) -> None:
    method, run = Replay(replay_mode='cumulative'), Run(tmp_path)
    assert [len(mix) for mix in run.train(method)] == [7, 37, 42]
    assert method.memory == [] and list(method.whole) == ['A', 'B', 'C']
    run.rows['A'].words[3] = 'another question'
    run.index = 2
    with pytest.raises(DataError, match='A: the training set is kept whole for replay, and it has changed'):
        method.coinkit_mix_samples(run, Mix(run.train_samples()))


def test_general_rows_are_a_pseudo_task_before_the_first(tmp_path) -> None:
    method = Replay(replay_mode='general', num_samples=4, general={'path': 'chat.json'})
    run = Run(tmp_path, others={'chat.json': Rows('chat', 20)})
    mixes = run.train(method)
    assert [mix.own for mix in mixes] == [11, 34, 9]
    assert len({tuple(words(mix, start=size)) for mix, size in zip(mixes, SIZES.values(), strict=True)}) == 1
    assert {reference.task for reference in method.memory} == {'general'}


def test_of_a_published_file_only_the_old_rows_are_added(tmp_path) -> None:
    published = Rows('published', 6)
    published.words[:3] = ['B question 0', 'B question 1', 'B question 2']
    run = Run(tmp_path, others={'task2replay20.json': published})
    published.name = 'B'  # its rows 0 to 2 are rows of B: same words, same picture names
    mixes = run.train(Replay(replay_select='upstream_file', replay_files={'B': {'path': 'task2replay20.json'}}))
    assert [mix.own for mix in mixes] == [7, 33, 5]
    assert words(mixes[1], start=30) == ['published question 3', 'published question 4', 'published question 5']


def test_phases_with_samples_of_their_own_are_left_alone(tmp_path) -> None:
    method, run = Replay(num_samples=2), Run(tmp_path)
    run.train(method)
    run.phase, mix = Phase('router', samples=Rows('A', 3)), Mix(Rows('A', 3))
    method.coinkit_mix_samples(run, mix)
    assert len(mix) == 3


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_changed_row_is_an_error(tmp_path) -> None:
    method, run = Replay(num_samples=3), Run(tmp_path)
    run.train(method)
    row = next(reference.index for reference in method.memory if reference.task == 'A')
    run.rows['A'].words[row] += '!'
    with pytest.raises(DataError, match=rf"A: row {row} of the training set is kept .*\(id '{row}'\) has another"):
        method.coinkit_mix_samples(run, Mix(run.train_samples()))
    del run.rows['A'].words[row:]
    with pytest.raises(DataError, match='there are only'):
        method.coinkit_mix_samples(run, Mix(run.train_samples()))


def test_id_pictures_and_words_are_the_content() -> None:
    row = Rows('A', 2)[0]
    digests = {content_hash(row), *(content_hash(Sample(**{**fields(row), key: value})) for key, value in (
        ('id', 'x'), ('images', ()), ('turns', row.turns[:1])))}
    assert len(digests) == 4
    check_unchanged(Rows('A', 2), refer('A', Rows('A', 2), [0, 1]))


def fields(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in ('id', 'task', 'images', 'turns')}


def test_a_quota_never_asks_for_a_row_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    assert quota(5, 9, generator) == [0, 1, 2, 3, 4] and len(set(quota(100, 40, generator))) == 40


def test_a_quota_for_each_task(tmp_path) -> None:
    method = Replay(num_samples={'A': 2, 'B': 5})
    mixes = Run(tmp_path).train(method)
    assert Counter(reference.task for reference in method.memory) == {'A': 2, 'B': 5}
    assert [mix.own - size for mix, size in zip(mixes, SIZES.values(), strict=True)] == [0, 2, 7]
    one = Replay(num_samples=2)
    Run(tmp_path).train(one)
    assert [each for each in one.memory if each.task == 'A'] == method.memory[:2], 'the rows that one number for all keeps'


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(num_samples={'A': 3, 'B': -1}), "given {'A': 3, 'B': -1}, allowed: 0 or more for each task, 1 or more in all"),
    (dict(num_samples={'A': 0}), '1 or more in all'), (dict(num_samples={}), '1 or more in all'),
    (dict(num_samples={'A': 3}, selection='reservoir'), "selection='reservoir' keeps rows of no task in particular"),
    (dict(num_samples={'A': 3}, replay_mode='general', general={}), "replay_mode='general' keeps rows of no task"),
    (dict(num_samples={'A': 3}, replay_mode='cumulative'), "replay_mode='cumulative' does not read it"),
    (dict(num_samples=0), 'num_samples: given 0, allowed: 1 or more'),
    (dict(ratio=1.0), 'ratio: given 1.0, allowed: above 0 and below 1'),
    (dict(replay_mode='general'), 'a dataset is given exactly when'),
    (dict(replay_select='upstream_file'), 'files are given exactly when'),
    (dict(replay_mode='concatenate'), "Did you mean 'concat'"),
    (dict(replay_mode='ratio', replay_repeat=5), "replay_repeat: 5 given, and replay_mode='ratio' does not read it."),
    (dict(replay_mode='cumulative', num_samples=7), "num_samples: 7 given, and replay_mode='cumulative' does not read it."),
    (dict(ratio=0.3), "ratio: 0.3 given, and replay_mode='concat' does not read it."),
    (dict(replay_select='upstream_file', replay_files={'A': {}}, selection='reservoir'), "upstream_file' does not read it"),
])
def test_bad_arguments(arguments, text) -> None:
    assert text in '\n'.join(map(str, Replay.preflight(**arguments)))


@pytest.mark.parametrize('arguments', [
    dict(replay_mode='ratio', ratio=0.3, num_samples=7, selection='reservoir'), dict(num_samples=7, replay_repeat=2),
    dict(num_samples={'A': 0, 'B': 3}),
    dict(replay_mode='cumulative', replay_repeat=2, num_samples=100), dict(replay_mode='general', general={})])
def test_what_a_mode_reads_may_be_set(arguments) -> None:
    assert Replay.preflight(**arguments) == []


@pytest.mark.parametrize(('arguments', 'text'), [
    (dict(num_samples=1281), 'the training set of TextVQA has 1280 rows.*Give at most 1280'),
    (dict(num_samples=2000, selection='reservoir'), 'all training sets before the last has 1280 rows'),
    (dict(num_samples={'TextVQB': 3}), "unknown task 'TextVQB'. Did you mean 'TextVQA'.*no number for the task 'TextVQA'"),
    (dict(num_samples={'TextVQA': 1281, 'GQA': 9}), '1281 given for TextVQA, but its training set has 1280 rows. Give at'),
    (dict(replay_mode='ratio', num_samples=1281), 'the training set of TextVQA has 1280 rows.*Give at most 1280'),
    (dict(replay_mode='ratio', num_samples=1281, selection='reservoir'), 'all training sets before the last has 1280 rows'),
    (dict(replay_mode='ratio', num_samples={'TextVQA': 1281}), '1281 given for TextVQA, but its training set has 1280'),
    (dict(replay_mode='ratio', num_samples=1281, ratio=0.99), '0.99 takes all .* places.*TextVQA has 1280 rows'),
    (dict(replay_mode='ratio', ratio=0.6), 'takes all 2 places of a global batch of TextVQA'),
    (dict(replay_select='upstream_file', replay_files={'GQB': dict(type='Mini', kind='gqa')}), "unknown task 'GQB'.*GQA"),
    (dict(replay_mode='general', num_samples=9, general=dict(type='Mini', kind='gqa', size=8)), 'the general file has 8'),
])
def test_what_does_not_fit_the_data_is_told_before_the_first_step(tmp_path, arguments, text) -> None:
    from coinkit.engine import preflight

    file = write_config(tmp_path / 'run.py', [dict(type='Replay', **arguments)])
    with pytest.raises(ConfigError, match=f'(?s){text}'):
        preflight.check(config(str(file)))


def test_tasks_of_the_benchmark_that_this_run_leaves_out_may_have_a_number(tmp_path) -> None:
    from coinkit.engine import preflight

    file = write_config(tmp_path / 'run.py', [dict(type='Replay', num_samples={'TextVQA': 1280, 'ScienceQA': 9})])
    preflight.check(config(str(file)))


# --- a run --------------------------------------------------------------------------------------------------------


def test_a_run_replays_what_it_kept_and_says_where(mini_engine, tmp_path) -> None:
    file = write_config(tmp_path / 'run.py', [dict(type='FineTune', rank=4, alpha=8, train_projector=False),
                                              dict(type='Replay', num_samples=3)])
    sizes = (f'benchmark.tasks.{number}.train.size=6' for number in (1, 3))
    options = (*sizes, 'schedule.steps=None', 'evaluation.limit=1')
    mini_engine.train(config(str(file), *options), tmp_path / 'run')
    kept = json.loads((tmp_path / 'run' / 'methods' / 'Replay' / '02-gqa.json').read_text())['memory']
    assert Counter(task for task, _, _ in kept) == {'TextVQA': 3, 'GQA': 3}
    steps = {record['stage']: record['step'] for record in events(tmp_path / 'run', 'phase_done')}
    assert steps == {'01-textvqa': 3, '02-gqa': 5}  # batches of 2: 6 rows, then 6 and 3 old ones
