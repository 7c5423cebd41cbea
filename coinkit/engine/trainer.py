"""Trains one phase of one task: micro-batches, the loss over the global batch, hooks around the step, checkpoints.

loss = sum over micro-batches and ranks of (token losses / labelled tokens of the global batch) + the methods' terms.
Step n is a function of (weights, optimizer state, n): the batch, the rate and all random numbers follow from n, so a
phase resumed at n ends in the same bits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coinkit.data.batch import Batch, ForwardOutput
from coinkit.data.images import BadImagePolicy
from coinkit.data.sampling import BatchSampler, Mix
from coinkit.engine.checkpoint import Checkpoints
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.loader import MicroBatches
from coinkit.engine.log import RunLog
from coinkit.engine.schedule import PhaseSchedule
from coinkit.errors import Interrupted, RunError
from coinkit.nn import seeding

if TYPE_CHECKING:
    from coinkit.engine.state import RunState

LOG_EVERY = 10  # optimizer steps; one process waits for its device only there, several also for one flag a step


class StepModule(nn.Module):
    """What a strategy wraps: the backbone's model with the loss inside its forward."""

    def __init__(self, backbone: Any):
        super().__init__()
        self.model, self.backbone = backbone.model, backbone

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return vars(self.backbone.forward(batch))


class PhaseTrainer:
    """One phase, from a fresh optimizer or from a checkpoint, to its last step."""

    def __init__(self, state: RunState, mix: Mix, schedule: PhaseSchedule, *, phase_index: int, checkpoints: Checkpoints,
                 log: RunLog, interrupt: Interrupt):
        self.state, self.schedule, self.phase_index = state, schedule, phase_index
        self.checkpoints, self.log, self.interrupt = checkpoints, log, interrupt
        taken = sum(count for _, count in mix.places)
        self.num_steps = schedule.num_steps(mix.own, taken=taken)
        self.policy = BadImagePolicy(state.config.data.on_bad_image)
        strategy = state.strategy
        self.accumulation = schedule.accumulation(strategy.world_size)
        self.num_parts = self.accumulation * strategy.world_size  # micro-batches of a global batch
        sampler = BatchSampler(mix.own, batch_size=schedule.global_batch_size, places=mix.places,
                               num_samples=schedule.num_samples(mix.own, taken=taken),
                               seed=seeding.derive(state.config.seed, state.task.name, state.phase.name))
        self.loader = MicroBatches(state.backbone, mix, sampler, rank=strategy.rank, world_size=strategy.world_size,
                                   micro_batch_size=schedule.micro_batch_size, accumulation=self.accumulation,
                                   workers=state.config.data.workers, policy=self.policy)
        self.totals: dict[str, Tensor] = {}
        self.last_logged, self.logged_at = 0, time.monotonic()

    # --- the phase ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train; leaves the plain model with its newest values, or raises (the strategy is then fit for teardown only)."""
        state = self.state
        self._prepare()
        start = self._resume()
        self.bad_step = torch.full((), -1, device=state.strategy.device)
        label = f'[{state.index + 1}/{len(state.stream)}] {state.task.name} · {state.phase.name}'
        with state.reporter.bar(label, self.num_steps, unit='steps', done=start) as bar:
            for step, batches in enumerate(self.loader.steps(start, self.num_steps), start):
                self._step(step, batches)
                bar.advance(1, **self._after(step + 1))
        state.strategy.release()
        bad = self.bad_images()
        if bad['first']:
            state.reporter.say(f'{state.task.name}: {bad["skipped"]} samples were skipped and {bad["stripped"]} '
                               f'trained without their picture. First: {bad["first"][0]}')

    def bad_images(self) -> dict[str, Any]:
        """What `on_bad_image` did so far, over all ranks. Collective."""
        reports = self.state.strategy.gather_json(self.policy.report())
        return {'skipped': sum(report['skipped'] for report in reports),
                'stripped': sum(report['stripped'] for report in reports),
                'first': [message for report in reports for message in report['first']][:BadImagePolicy.KEEP]}

    def _prepare(self) -> None:
        state, schedule = self.state, self.schedule
        self.groups = parameter_groups(state, schedule)
        self.peaks = [group['lr'] for group in self.groups]
        state.backbone.set_gradient_checkpointing(schedule.gradient_checkpointing)
        state.backbone.model.train()

        def optimizer(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return torch.optim.AdamW(groups, betas=schedule.betas, eps=schedule.eps, fused=True)

        state.strategy.prepare(StepModule(state.backbone), optimizer, self.groups, accumulation=self.accumulation,
                               grad_clip=schedule.grad_clip)
        self.has = {hook: state.hooks.has(f'coinkit_{hook}') for hook in ('loss_terms', 'before_step', 'after_step')}

    def _resume(self) -> int:
        path = self.checkpoints.inside(self.phase_index)
        if path is None:
            self.log.rewind(self.state.index + 1, self.phase_index, 0)
            return 0
        position = self.checkpoints.load_step(path)
        self.state.step = self.last_logged = position['step']
        if self.state.strategy.is_main:  # it goes on counting for all
            self.policy.resume(position['counters'])
        self.log.rewind(self.state.index + 1, self.phase_index, self.state.step)
        self.state.reporter.say(f'{self.state.task.name}: continuing {self.state.phase.name} at step {self.state.step}')
        return self.state.step

    # --- one step -----------------------------------------------------------------------------------------------

    def _step(self, step: int, batches: list[Batch]) -> None:
        state, strategy = self.state, self.state.strategy
        state.step = step
        state.seed(state.phase.name, 'step', step, strategy.rank)
        tokens = torch.tensor(float(sum(batch.num_label_tokens() for batch in batches)), device=strategy.device)
        tokens = strategy.all_reduce_sum(tokens).clamp(min=1.0)
        state.token_mean = lambda values_N: self._share(values_N, tokens) * self.num_parts
        for number, batch in enumerate(batches):
            batch = batch.to(strategy.device)
            output = ForwardOutput(**strategy.forward(batch))
            loss = self._share(output.token_loss_N, tokens)
            self._total('loss', loss)
            if self.has['loss_terms']:
                loss = loss + self._terms(batch, output)
            strategy.backward(loss, last=number == len(batches) - 1)
        if self.has['before_step']:
            state.hooks.call('coinkit_before_step', state=state)
        factor = self.schedule.lr_factor(step, self.num_steps)
        self.rate = factor * self.schedule.lr
        norm = strategy.step([factor * peak for peak in self.peaks])
        self._total('grad_norm', norm / strategy.world_size)
        state.step = step + 1
        if self.has['after_step']:
            state.hooks.call('coinkit_after_step', state=state)
        self._take_notes()
        finite = torch.isfinite(norm) & torch.isfinite(self.totals['loss'])
        self.bad_step = torch.where((self.bad_step < 0) & ~finite, step + 1, self.bad_step)

    def _share(self, values_N: Tensor, tokens: Tensor) -> Tensor:
        """This micro-batch's share of the mean over the labelled tokens of the global batch."""
        if self.schedule.loss_norm == 'tokens':
            return values_N.sum() / tokens
        return values_N.sum() / max(1, values_N.numel()) / self.num_parts

    def _terms(self, batch: Batch, output: ForwardOutput) -> Tensor:
        terms = self.state.hooks.call('coinkit_loss_terms', state=self.state, batch=batch, output=output)
        total = torch.zeros((), device=self.state.strategy.device)
        for plugin, named in terms.items():
            for name, value in named.items():
                part = torch.as_tensor(value, device=total.device) / self.num_parts  # a method may return a plain 0.0
                total = total + part
                self._total(f'{plugin}.{name}', part)
        return total

    def _take_notes(self) -> None:
        """What hooks noted in this step; every rank has a value, so each gives its share of the mean."""
        for name, value in self.state.notes.items():
            self._total(name, value / self.state.strategy.world_size)
        self.state.notes.clear()

    def _total(self, name: str, value: Tensor) -> None:
        value = value.detach().float()
        self.totals[name] = self.totals[name] + value if name in self.totals else value

    # --- between steps ------------------------------------------------------------------------------------------

    def _after(self, step: int) -> dict[str, str]:
        """Log, save and stop where due; `step` steps are finished. Returns notes for the bar."""
        strategy, last = self.state.strategy, step == self.num_steps
        save = not last and strategy.any_rank(self.interrupt.requested or self.checkpoints.due(step))
        stop = save and strategy.any_rank(self.interrupt.requested)  # asked only when somebody wants something
        notes = self._log(step) if last or save or step % LOG_EVERY == 0 else {}
        if save:
            self.checkpoints.save_step(self.phase_index, step, self.bad_images())
        if stop:
            raise Interrupted(f'Stopped as asked; {self.state.task.name} is saved at step {step} of {self.num_steps}. '
                              'Run the same command again to continue.')
        return notes

    def _log(self, step: int) -> dict[str, str]:
        state, strategy = self.state, self.state.strategy
        self._check_finite(step)
        count = step - self.last_logged
        means = {name: float(strategy.all_reduce_sum(total)) / count for name, total in sorted(self.totals.items())}
        seconds = time.monotonic() - self.logged_at
        record = {'stage': state.index + 1, 'task': state.task.name, 'phase_index': self.phase_index,
                  'phase': state.phase.name, 'step': step, **means, 'lr': self.rate,
                  'samples_per_s': count * self.schedule.global_batch_size / max(seconds, 1e-9)}
        self.log.write(record)
        state.hooks.call('coinkit_log', state=state, record=record)
        self.totals, self.last_logged, self.logged_at = {}, step, time.monotonic()
        return {'loss': f'{means["loss"]:.4f}'}

    def _check_finite(self, step: int) -> None:
        bad = int(self.bad_step)
        if not self.state.strategy.any_rank(bad >= 0):
            return
        saved = self.checkpoints.inside(self.phase_index)
        kept = f'the checkpoint {saved.name} is kept' if saved else 'the end of the previous stage is kept'
        raise RunError(f'{self.state.task.name}, phase {self.state.phase.name}: the loss or its gradient is not finite '
                       f'since step {bad if bad >= 0 else step} of {self.num_steps}; {kept}. Lower schedule.lr, set '
                       'schedule.grad_clip or look at the samples of that batch, and start with another --work-dir.')


def parameter_groups(state: RunState, schedule: PhaseSchedule) -> list[dict[str, Any]]:
    """Optimizer groups: the projector at its own rate where one is given; no weight decay on vectors (biases, norms)."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    projector = f'{state.backbone.projector}.' if state.backbone.projector else None
    for name, parameter in state.trainable().items():
        of_projector = projector is not None and name.startswith(projector)
        lr = schedule.projector_lr if of_projector and schedule.projector_lr is not None else schedule.lr
        decay = schedule.weight_decay if parameter.ndim >= 2 else 0.0
        group = groups.setdefault((lr, decay), {'params': [], 'names': [], 'lr': lr, 'weight_decay': decay})
        group['params'].append(parameter)
        group['names'].append(name)
    if not groups:
        raise RunError(f'{state.task.name}, phase {state.phase.name}: no parameter is trainable. The method must insert '
                       'the adapter bank or choose parameters in coinkit_prepare_model, or return no phases.')
    return list(groups.values())
