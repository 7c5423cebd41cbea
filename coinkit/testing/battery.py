"""What every continual-learning method must hold, as one pytest class: sub-class it and say which method.

Each run is two tasks of the mini stream with three steps each, so a method's whole battery takes well under a minute; the
two-process test starts real processes and is marked `slow`. A class attribute that does not fit a method is overridden:
`beside` names other methods it needs, `options` more `--cfg-options`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from coinkit.testing import small_runs
from coinkit.testing.faults import Killed, Points, install, spread
from coinkit.testing.runs import distance, numbers_in, opened, watched

_LOADED: dict[str, Any] = {}  # backbones by their arguments, for the whole test session
KILLS = 3
SAME_END = 1e-4  # of the way trained, after AdamW steps of two processes instead of one


class MethodBattery:
    """Sub-class with `method = dict(type='Mine', ...)`. A rank is set to 4 where the method has one and none is given."""

    method: ClassVar[Mapping[str, Any]] = {}
    beside: ClassVar[Sequence[Mapping[str, Any]]] = ()
    options: ClassVar[Sequence[str]] = ()
    plugins: ClassVar[Sequence[str]] = ()  # files or modules that register the method, when it is not installed

    # --- runs that several tests read ---------------------------------------------------------------------------

    @pytest.fixture(scope='class')
    def engine(self) -> Iterator[small_runs.MiniEngine]:
        with small_runs.small_engine(_LOADED) as engine:
            yield engine

    @pytest.fixture(scope='class')
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(str(self.method['type']))

    @pytest.fixture(scope='class')
    def finished(self, engine: small_runs.MiniEngine, folder: Path) -> tuple[Path, Any, Points]:
        """A run left alone: its folder, what was seen of its model, the points at which it could have been killed."""
        points, run = Points(), folder / 'run'
        with pytest.MonkeyPatch.context() as patch, watched() as seen:
            install(points, patch.setattr)
            engine.train(self.config(folder), run)
        return run, seen, points

    def config(self, folder: Path, *more: str, others: Sequence[Mapping[str, Any]] = ()) -> Any:
        """The run of this method as a config."""
        file = folder / f'config{len(others)}.py'
        small_runs.write_config(file, [*others, *self.beside, small_runs.with_small_rank(self.method)], plugins=self.plugins)
        return small_runs.config(str(file), *self.options, *more)

    # --- the battery --------------------------------------------------------------------------------------------

    def test_the_model_is_unchanged_before_training(self, engine, folder) -> None:
        """B = 0 (or nothing inserted): logits equal the plain backbone's bit for bit."""
        config = self.config(folder)
        with opened(config, folder / 'start') as runner:
            state = runner.state
            samples = [state.train_samples(0)[i] for i in range(3)]
            plain = small_runs.plain_backbone(config)
            batch = plain.collate([plain.encode(one, training=True) for one in samples], padding_side='right')
            assert torch.equal(state.backbone.forward(batch).logits_NV, plain.forward(batch).logits_NV)

    def test_only_declared_parameters_train(self, finished) -> None:
        _, seen, _ = finished
        assert not seen.changed - seen.declared, 'parameters that were not declared trainable have changed'
        assert seen.changed or not seen.declared, 'nothing that was to train has changed'

    def test_two_tasks_are_trained_and_measured(self, finished, engine, folder) -> None:
        run, _, _ = finished
        found = small_runs.matrix(run)
        with opened(self.config(folder), run) as runner:
            asked = runner.evaluates
        rows = found['scores'] if asked == 'policy' else found['scores'][-1:] if asked == 'last' else [found['zero_shot']]
        assert found['tasks'] == list(small_runs.TASKS)
        assert None not in rows[-1] and all(any(score is not None for score in row) for row in rows)

    def test_saved_is_loaded_bit_for_bit(self, finished, engine, folder) -> None:
        run, _, _ = finished
        with opened(self.config(folder), run) as runner:
            for stage in runner.stages():
                if not (run / 'stages' / stage / 'adapter').exists():
                    continue  # the untouched model
                runner.restore(stage)
                written, read = small_runs.adapter(run, stage), runner.tensors()
                assert written.keys() == read.keys()
                assert all(torch.equal(written[name], read[name]) for name in written), stage

    def test_killed_and_resumed_is_as_if_left_alone(self, finished, engine, folder, tmp_path) -> None:
        run, _, points = finished
        expected = small_runs.digest(run)
        for number, point in enumerate(spread(points.passed, KILLS)):
            killed = tmp_path / str(number)
            self._killed(engine, folder, killed, point.number)
            found = engine.train(self.config(folder), killed)
            assert not small_runs.differing(expected, found), f'killed at {point.where}: {point.what}'

    def _killed(self, engine: small_runs.MiniEngine, folder: Path, run: Path, at: int) -> None:
        def die() -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            install(Points(at, die), patch.setattr)
            with pytest.raises(Killed):
                engine.train(self.config(folder), run)

    def test_routes_see_neither_answers_nor_names(self, finished, engine, folder) -> None:
        """References shuffled among the samples and tasks renamed: every query goes where it went.

        One question less than the run asked, and what is kept for them removed: otherwise a method may know its answer.
        """
        run, _, _ = finished
        with opened(self.config(folder), run) as runner:
            if not runner.state.hooks.has('coinkit_route'):
                return  # one adapter answers all: there is nothing to choose
            runner.restore(runner.stages()[-1])
            for j, task in enumerate(runner.state.stream):
                samples = runner.test_samples(j)[:-1]
                shuffled = [replace(one, references=other.references, meta=other.meta)
                            for one, other in zip(samples, reversed(samples), strict=True)]
                named = task if runner.knows_task else replace(task, name='another name')
                before = set((run / 'methods').rglob('*'))
                first = runner.routes(task, samples)
                for path in set((run / 'methods').rglob('*')) - before:
                    if path.is_file():
                        path.unlink()
                assert runner.routes(named, shuffled) == first

    def test_it_stores_what_it_declares(self, finished, engine, folder) -> None:
        run, _, _ = finished
        with opened(self.config(folder), run) as runner:
            stages = runner.stages()
            runner.restore(stages[-1])
            plugin = runner.state.hooks.plugins[self.method['type']]
            kept = runner.state.method_state().get(self.method['type'], {})
            assert isinstance(plugin.storage, str) and plugin.storage
            assert plugin.step_budget > 0
            assert numbers_in(kept) == plugin.stored_numbers(runner.state)

    def test_it_composes_with_replay(self, engine, folder) -> None:
        from coinkit.registry import METHODS

        if self.method['type'] == 'Replay' or getattr(METHODS.get(self.method['type']), 'evaluates', 'policy') != 'policy':
            return  # itself, or a method without a sequence of tasks
        replayed = folder / 'replayed'
        engine.train(self.config(folder, others=[dict(type='Replay', num_samples=4)]), replayed)
        assert None not in small_runs.matrix(replayed)['scores'][-1]

    def test_it_is_documented(self) -> None:
        from coinkit.registry import METHODS

        cls = METHODS.get(self.method['type'])
        assert (cls.__doc__ or '').strip(), 'the class has no docstring: it is what `coinkit list` shows'
        assert (sys.modules[cls.__module__].__doc__ or '').strip(), 'its module does not say what it is and where from'

    @pytest.mark.slow
    def test_two_processes_end_where_one_ends(self, folder, tmp_path) -> None:
        """Over gloo, at dropout 0 and a small rate; the distance of the ends is a small part of the way trained."""
        options = ['schedule.lr=1e-3', 'schedule.warmup_steps=0', 'evaluation.token_budget=300',
                   *small_runs.without_dropout(len(self.beside) + 1, self.method)]
        ends = [self._command(folder, tmp_path / f'{count}', count, options) for count in (1, 2)]
        names = [path.name for path in sorted((ends[0] / 'stages').iterdir()) if (path / 'adapter').exists()]
        start = small_runs.adapter(ends[0], names[0]) if names else {}
        for stage in names[1:]:
            one, two = (small_runs.adapter(end, stage) for end in ends)
            assert one.keys() == two.keys()
            way = distance(one, {name: start.get(name, torch.zeros_like(value)) for name, value in one.items()})
            assert distance(one, two) <= SAME_END * way, stage
        assert small_runs.matrix(ends[0])['scores'] == small_runs.matrix(ends[1])['scores']

    def _command(self, folder: Path, run: Path, processes: int, options: Sequence[str]) -> Path:
        """`coinkit train` in processes of its own."""
        launcher = [] if processes == 1 else ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
        self.config(folder)  # writes the file
        command = [sys.executable, *launcher, '-m', 'coinkit', 'train', str(folder / 'config0.py'), '--work-dir', str(run),
                   '--cfg-options', *small_runs.options(*self.options, *options)]
        done = subprocess.run(command, env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True,
                              timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return run
