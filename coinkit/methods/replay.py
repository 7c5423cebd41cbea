"""Replay: old rows are mixed into every new task; nothing else changes (experience replay).

After task t:       M_t = M_{t-1} + select(D_t, k)         rows by reference (task, position, content hash), never content
While task t runs:  D_t + M_{t-1}                          a union, or fixed places in every batch

`quota` keeps k rows of every task (or k_t of task t), `reservoir` k rows in all (Algorithm R over the stream). The rows are
mixed into phases that train on the task's own set; phases with samples of their own (a router's...) are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from fractions import Fraction
from typing import Any, Literal

from coinkit import atomic
from coinkit.data.references import Reference, check_unchanged, quota, refer, reservoir
from coinkit.data.sampling import Mix, Subset
from coinkit.errors import DataError
from coinkit.methods.replay_checks import argument_problems, run_problems
from coinkit.types import Dataset

GENERAL = 'general'  # the pseudo-task of replay_mode='general'


class Replay:
    """Train on a few stored rows of the old tasks beside each new one."""

    needs_task_id = False
    storage = 'references to rows'
    step_budget = 1.1  # of a FineTune step; the rows replayed are further steps

    def __init__(self, *, replay_mode: Literal['concat', 'ratio', 'cumulative', 'general'] = 'concat',
                 num_samples: int | dict[str, int] = 100, selection: Literal['quota', 'reservoir'] = 'quota',
                 replay_repeat: int = 1, ratio: float = 0.1, replay_select: Literal['random', 'upstream_file'] = 'random',
                 replay_files: dict[str, dict[str, Any]] | None = None, general: dict[str, Any] | None = None):
        self.mode, self.num_samples, self.selection, self.repeat = replay_mode, num_samples, selection, replay_repeat
        self.ratio, self.files, self.general = ratio, replay_files or {}, general
        self.from_files = replay_select == 'upstream_file'
        self.memory: list[Reference] = []  # M: rows of finished tasks, or of the general file
        self.whole: dict[str, str] = {}  # cumulative: finished tasks and the fingerprints of their training sets
        self.seen = 0  # rows of the stream the reservoir has passed

    preflight = staticmethod(argument_problems)
    preflight_run = staticmethod(run_problems)

    def stored_numbers(self, state: Any) -> int:
        return 0  # references are book-keeping

    # --- while a task is trained --------------------------------------------------------------------------------

    def coinkit_mix_samples(self, state: Any, mix: Mix) -> None:
        if state.phase.samples is None:
            self._add(state, mix, self._old_rows(state))

    def coinkit_plan_mix(self, state: Any, mix: Mix) -> None:
        if state.phase.samples is None:
            self._add(state, mix, self._published_rows(state) if self.from_files else range(self._num_old(state)))

    def _add(self, state: Any, mix: Mix, old: Sized) -> None:
        if not len(old):
            return  # the first task
        if self.mode == 'ratio':
            batch_size = state.phase.schedule.get('global_batch_size', state.schedule().global_batch_size)
            mix.add_to_every_batch(old, math.ceil(Fraction(str(self.ratio)) * batch_size))
        else:
            mix.add(old, repeat=self.repeat)

    def _old_rows(self, state: Any) -> Mix:
        if self.from_files:
            return self._published_rows(state)
        if self.mode == 'general' and not self.memory:
            rows = self._general_rows(state)
            count = min(self.num_samples, len(rows))
            self.memory = refer(GENERAL, rows, quota(len(rows), count, state.generator('Replay', GENERAL)))
        positions = {task.name: index for index, task in enumerate(state.stream)}
        rows = Mix()
        for name, fingerprint in self.whole.items():
            rows.add(_unchanged_set(name, state.train_samples(positions[name]), fingerprint))
        for name in dict.fromkeys(reference.task for reference in self.memory):
            kept = [reference for reference in self.memory if reference.task == name]
            dataset = self._general_rows(state) if self.mode == 'general' else state.train_samples(positions[name])
            check_unchanged(dataset, kept)
            rows.add(Subset(dataset, [reference.index for reference in kept]))
        return rows

    def _num_old(self, state: Any) -> int:
        """How many rows there are to replay, from sizes alone."""
        if self.mode == 'general':
            return min(self.num_samples, len(self._general_rows(state)))
        sizes = {task.name: len(state.train_samples(index)) for index, task in enumerate(state.stream[:state.index])}
        if self.mode == 'cumulative':
            return sum(sizes.values())
        if self.selection == 'reservoir':
            return min(self.num_samples, sum(sizes.values()))
        return sum(min(self._kept_of(name), size) for name, size in sizes.items())

    def _kept_of(self, task: str) -> int:
        by_task = isinstance(self.num_samples, Mapping)  # the last task need not be named: nothing replays it
        return self.num_samples.get(task, 0) if by_task else self.num_samples

    def _general_rows(self, state: Any) -> Dataset:
        return state.datasets.build(self.general, task=GENERAL)

    def _published_rows(self, state: Any) -> Mix:
        """Of the task's published replay file, the rows that its own training set does not have: files hold both."""
        if state.task.name not in self.files:
            return Mix()
        rows, own = state.datasets.build(self.files[state.task.name], task=state.task.name), state.train_samples()
        with state.reporter.bar('Replay: comparing rows', len(own), unit='rows') as bar:
            known = set()
            for index in range(len(own)):
                known.add(_words(own[index]))
                bar.advance(1)
        return Mix(Subset(rows, [index for index in range(len(rows)) if _words(rows[index]) not in known]))

    # --- after a task -------------------------------------------------------------------------------------------

    def coinkit_end_task(self, state: Any) -> None:
        if self.from_files or self.mode == 'general':
            return
        name, rows, generator = state.task.name, state.train_samples(), state.generator('Replay', state.task.name)
        if self.mode == 'cumulative':
            self.whole = {**self.whole, name: rows.fingerprint}
        elif self.selection == 'quota':
            self.memory = [*self.memory, *refer(name, rows, quota(len(rows), self._kept_of(name), generator))]
        else:
            placed = reservoir(len(self.memory), self.seen, len(rows), self.num_samples, generator)
            new = dict(zip(placed, refer(name, rows, list(placed.values())), strict=True))
            kept = dict(enumerate(self.memory)) | new
            self.memory, self.seen = [kept[slot] for slot in sorted(kept)], self.seen + len(rows)
        if state.strategy.is_main:  # for people; the run itself reads its state
            atomic.write_json(state.store('Replay') / f'{state.stage_name}.json', self.coinkit_state_dict(state))

    # --- checkpoints --------------------------------------------------------------------------------------------

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'memory': [list(reference) for reference in self.memory], 'whole': self.whole, 'seen': self.seen}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        self.memory = [Reference(*reference) for reference in blob['memory']]
        self.whole, self.seen = dict(blob['whole']), blob['seen']


def _unchanged_set(name: str, dataset: Dataset, fingerprint: str) -> Dataset:
    if dataset.fingerprint != fingerprint:
        raise DataError(f'{name}: the training set is kept whole for replay, and it has changed since the task was '
                        'trained. Put the files back as they were, or start anew with --fresh.')
    return dataset


def _words(sample: Any) -> tuple[Any, ...]:
    """What two copies of a row share, wherever their picture folders lie."""
    pictures = tuple(image.key.replace('\\', '/').rpartition('/')[2] for image in sample.images)
    return pictures, tuple((turn.role, turn.text) for turn in sample.turns)
