"""Runs a stream: for each task its phases, its end, its adapter, its cells of the matrix; then the report.

The ledger says what is finished. A run started again skips it, puts the last finished stage into the model and goes on
from the newest checkpoint of the stage under way; what it then computes are the same bits.
"""

from __future__ import annotations

from typing import Any

from coinkit import atomic
from coinkit.config import RunConfig
from coinkit.data.sampling import Mix
from coinkit.engine import adapters, blobs, builder
from coinkit.engine.checkpoint import Checkpoints
from coinkit.engine.evaluator import Evaluator
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.ledger import Ledger
from coinkit.engine.lengths import check_prompts
from coinkit.engine.log import RunLog
from coinkit.engine.progress import Reporter
from coinkit.engine.run_dir import RunDir
from coinkit.engine.schedule import PhaseSchedule
from coinkit.engine.state import RunState
from coinkit.engine.trained import Trained
from coinkit.engine.trainer import PhaseTrainer
from coinkit.errors import RunError
from coinkit.nn.adapter_folder import read_card
from coinkit.types import Phase

ZERO = '00-zero-shot'


class Runner:
    """One run directory, one stream, from wherever it stands to its end."""

    def __init__(self, config: RunConfig, run: RunDir, ledger: Ledger, *, strategy: Any, reporter: Reporter,
                 interrupt: Interrupt):
        self.config, self.run, self.ledger = config, run, ledger
        self.strategy, self.reporter, self.interrupt = strategy, reporter, interrupt
        self.state: RunState = builder.build_state(config, run, strategy, reporter)
        self.state.interrupt = interrupt
        self.log = RunLog(run.log, run.tensorboard, active=strategy.is_main)
        self.evaluator = Evaluator(self.state, ledger, self.log, interrupt)

    # --- the stream ---------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Everything that is not finished yet."""
        try:
            self._start()
            check_prompts(self.state, self._unmeasured())
            self._zero_shot()
            for index in range(len(self.state.stream)):
                self._stage(index)
        finally:
            self.log.close()

    def _start(self) -> None:
        """theta_0 becomes stage 0: from the backbone, or from `init_from`."""
        if self.ledger.last('stage_done', stage=ZERO) is None:
            if self.config.init_from:
                self._init_from(self.config.init_from)
            self._finish_stage(ZERO)
        self._clean()
        self.evaluator.catch_up()

    def _unmeasured(self) -> list[int]:
        """Tasks that no stage has measured yet, by position."""
        measured = {record['task'] for record in self.ledger.all('cell_scored')}
        return [j for j, task in enumerate(self.state.stream) if task.name not in measured]

    def _zero_shot(self) -> None:
        wanted = self.config.evaluation.zero_shot or builder.evaluates(self.state) == 'none'
        if wanted and self.evaluator.missing(0, range(len(self.state.stream))):
            self._restore(ZERO)
            self.evaluator.stage(0, range(len(self.state.stream)))

    def _stage(self, index: int) -> None:
        name = RunDir.stage_name(index + 1, self.state.stream)
        if builder.evaluates(self.state) == 'none':
            return
        if not self._is_done(name):
            self._restore(self._previous(index))
            self._train_stage(index)
        cells = self._cells(index)
        if self.evaluator.missing(index + 1, cells):
            self._restore(name)
            self.evaluator.stage(index + 1, cells)

    def _is_done(self, name: str) -> bool:
        return any(self.ledger.last(event, stage=name) for event in ('stage_done', 'stage_skipped'))

    def _previous(self, index: int) -> str:
        """The newest stage before `index` that has an adapter."""
        names = [ZERO] + [RunDir.stage_name(i + 1, self.state.stream) for i in range(index)]
        return next(name for name in reversed(names) if self.ledger.last('stage_done', stage=name))

    def _cells(self, index: int) -> range:
        """Tasks measured after stage index + 1, by position."""
        last, count = index == len(self.state.stream) - 1, len(self.state.stream)
        name = RunDir.stage_name(index + 1, self.state.stream)
        if self.ledger.last('stage_done', stage=name) is None:
            return range(0)
        if builder.evaluates(self.state) == 'last':
            return range(count) if last else range(0)
        policy = self.config.evaluation.policy
        return range(count) if policy == 'all' else range(index, index + 1) if policy == 'last' else range(index + 1)

    # --- one stage ----------------------------------------------------------------------------------------------

    def _train_stage(self, index: int) -> None:
        state = self.state
        state.index, state.step, state.phase = index, 0, Phase('begin')
        name = state.stage_name
        self._check_data(name)
        state.seed('begin_task')
        state.hooks.call('coinkit_begin_task', state=state)
        builder.raise_precision(state)
        planned = state.hooks.first('coinkit_phases', state=state)
        phases = list(planned[1]) if planned is not None else [Phase()]
        if not phases:
            self.ledger.append('stage_skipped', stage=name)
            return
        checkpoints = Checkpoints(state, self.ledger, every_steps=self.config.checkpoint.every_steps,
                                  every_minutes=self.config.checkpoint.every_minutes)
        trained = Trained(state)
        finished = checkpoints.finished_phase()
        first = checkpoints.load_phase(finished)['phase_index'] if finished else 0
        for phase_index in range(first, len(phases)):
            self._train_phase(phases[phase_index], phase_index, checkpoints, trained)
        trained.restore()
        state.phase, state.step = Phase('end'), 0
        state.seed('end_task')
        state.hooks.call('coinkit_end_task', state=state)
        self._finish_stage(name)
        checkpoints.clear()

    def _check_data(self, name: str) -> None:
        """A stage goes on with the training data it was started with, or not at all."""
        fingerprint = self.state.train_samples().fingerprint
        started = self.ledger.last('stage_started', stage=name)
        if started is not None and started['data'] != fingerprint:
            raise RunError(f'{self.state.task.name}: the training data changed since this stage was started. Put the old '
                           'files back, or use another --work-dir or --fresh.')
        self.ledger.append('stage_started', stage=name, data=fingerprint)

    def _train_phase(self, phase: Phase, phase_index: int, checkpoints: Checkpoints, trained: Trained) -> None:
        state = self.state
        state.phase, state.step = phase, 0
        trained.choose(phase.trains)
        builder.raise_precision(state)
        mix = Mix(phase.samples if phase.samples is not None else state.train_samples())
        state.seed(phase.name, 'mix_samples')
        state.hooks.call('coinkit_mix_samples', state=state, mix=mix)
        schedule = PhaseSchedule.of(state.schedule(), phase.schedule)
        trainer = PhaseTrainer(state, mix, schedule, phase_index=phase_index, checkpoints=checkpoints, log=self.log,
                               interrupt=self.interrupt)
        trainer.run()
        checkpoints.save_phase(phase_index, trainer.num_steps, trainer.bad_images())

    def _finish_stage(self, name: str) -> None:
        """Write the stage's adapter and plug-in state, then say so in the ledger."""
        state, digest = self.state, None
        methods = state.method_state()  # on every rank: a method may gather
        if self.strategy.is_main:
            if state.bank is not None or adapters.own_parameters(state):
                digest = adapters.save(state, self.run.adapter(name))
            with atomic.folder(self.run.methods(name)) as folder:
                blobs.save(folder, 'methods', methods)
        adapters.own_parameters(state)
        digest = self.strategy.gather_json(digest)[0]  # every rank names a cell by its weights
        self.ledger.append('stage_done', stage=name, adapter_sha256=digest)

    # --- going back to a stage ----------------------------------------------------------------------------------

    def _restore(self, name: str) -> None:
        """Model and plug-ins as they were when the stage was finished."""
        record = self.ledger.last('stage_done', stage=name)
        if record is None:
            raise RunError(f'{self.run.path}: stage {name} is not finished. Train first, with the same config.')
        names = [RunDir.stage_name(stage, self.state.stream) for stage in range(len(self.state.stream) + 1)]
        self.state.index = names.index(name) - 1
        self.state.reset_trained()
        if record['adapter_sha256'] is not None:
            self._check_adapter(name, record['adapter_sha256'])
            self.state.load_stage(name)
        if self.run.methods(name).exists():
            self.state.load_method_state(self.run.methods(name))

    def _check_adapter(self, name: str, expected: str) -> None:
        """The folder agrees with itself (`load_adapter` looks); here: it is the one the ledger speaks of."""
        folder = self.run.adapter(name)
        if read_card(folder)['sha256'] != expected:
            raise RunError(f'{folder}: the adapter differs from what the ledger recorded. It was exchanged after it was '
                           'written: put the old one back, or start anew with --fresh.')

    def evaluate(self, stage: int, tasks: list[int]) -> None:
        """Fill the missing cells of one finished stage (tools/test.py)."""
        name = RunDir.stage_name(stage, self.state.stream)
        try:
            self.evaluator.catch_up()
            self._restore(name)
            self.evaluator.stage(stage, tasks)
        finally:
            self.log.close()

    def _init_from(self, source: str) -> None:
        from coinkit.engine.init_from import load_init

        load_init(self.state, source)

    def _clean(self) -> None:
        """Checkpoints of finished stages are of no more use (a kill may have come before they were removed)."""
        if self.strategy.is_main:
            for record in self.ledger.all('stage_done'):
                atomic.remove(self.run.checkpoints(record['stage']))
        self.strategy.barrier()
