"""EWC: parameters that old tasks need are held near their old values (Kirkpatrick et al., 2017).

After task i:   F_i = E_x [(d log p(y|x) / d theta)^2],   theta*_i = theta            (x from task i, theta trainable)
While training: L' = L + (lambda / 2) sum_i sum_p F_{i,p} (theta_p - theta*_{i,p})^2
Online:         F~_i = gamma F~_{i-1} + F_i, and only the newest anchor theta*_i stays

The penalty enters as its gradient, added to the accumulated gradient before each step: identical maths, and right where
parameters are partitioned (ZeRO). A sum of quadratics is one quadratic plus a constant, so the separate form keeps
F = sum_i F_i, the F-weighted mean of the anchors and that constant: memory and time do not grow with the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from coinkit import METHODS, Problem, RunError
from torch import Tensor


class EWC:
    """Elastic weight consolidation: a quadratic penalty on parameters that old tasks need."""

    needs_task_id = False
    storage = '2 numbers per trained parameter, in all'
    step_budget = 1.1  # of a FineTune step

    def __init__(self, *, ewc_lambda: float = 5000.0, mode: Literal['separate', 'online'] = 'separate',
                 gamma: float = 0.95, fisher: Literal['empirical', 'true'] = 'empirical',
                 fisher_est: Literal['per_sample', 'batch_sq'] = 'per_sample', batch_size: int = 8,
                 num_samples: int = 200):
        self.ewc_lambda, self.mode, self.gamma = ewc_lambda, mode, gamma  # gamma: online only
        self.labels, self.num_samples = fisher, num_samples  # labels from the data, or drawn from the model
        self.batch_size = 1 if fisher_est == 'per_sample' else batch_size  # 'batch_sq': the square of a batch's mean
        self.fisher: dict[str, Tensor] = {}  # F by parameter name, fp32
        self.anchor: dict[str, Tensor] = {}  # theta* by parameter name
        self.constant = torch.zeros(())  # what the separate penalties still sum to at their common minimum
        self.blocks: list[str] = []  # of the bank, whose values F and theta* are: others bear the same names

    @classmethod
    def preflight(cls, *, ewc_lambda: float = 5000.0, mode: str = 'separate', gamma: float = 0.95,
                  fisher_est: str = 'per_sample', batch_size: int = 8, num_samples: int = 200,
                  **_: Any) -> list[Problem]:
        """Values no run can use."""
        rules = [('ewc_lambda', ewc_lambda, ewc_lambda >= 0, '0 or more'), ('gamma', gamma, 0 <= gamma <= 1, '0 to 1'),
                 ('batch_size', batch_size, batch_size >= 1, '1 or more'),
                 ('num_samples', num_samples, num_samples >= 1, '1 or more')]
        unread = [('gamma', gamma, gamma != 0.95 and mode == 'separate', "mode='separate'"),
                  ('batch_size', batch_size, batch_size != 8 and fisher_est == 'per_sample', "fisher_est='per_sample'")]
        return [*(Problem(f'EWC: {key}', f'given {given}, allowed: {allowed}.')
                  for key, given, fine, allowed in rules if not fine),
                *(Problem(f'EWC: {key}', f'given {given}, and {by} does not read it.', 'Leave it out.')
                  for key, given, ignored, by in unread if ignored)]

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, **_: Any) -> list[Problem]:
        """What does not go with the other methods of the run."""
        kinds = {method['type']: METHODS.get(method['type']) for method in config.methods}
        changing = [name for name, kind in kinds.items() if getattr(kind, 'blocks_change', 'never') != 'never']
        at_once = [name for name, kind in kinds.items() if getattr(kind, 'evaluates', 'policy') != 'policy']
        anew = [method['type'] for method in config.methods if method.get('expand_init') == 'random'
                or getattr(kinds[method['type']], 'starts_anew', False)]
        twice = sum(kind is cls for kind in (kinds[method['type']] for method in config.methods)) > 1
        return [*(Problem('methods', f'EWC holds blocks near their old values, and {name} does not train the same '
                          'blocks in every task.', f'Leave out EWC or {name}.') for name in changing),
                *(Problem('methods', f'EWC holds blocks near their old values, and {name} starts from theta_0 again: '
                          'it would pull towards the weights of other tasks.', f'Leave out EWC or {name}.')
                  for name in anew),
                *([Problem('methods', 'EWC is listed twice, and both would hold the same values.',
                           'List it once, with the strength of both.')] if twice else []),
                *(Problem('methods', f'EWC works from task to task, and {name} trains no sequence of tasks.',
                          f'Leave out EWC or {name}.') for name in at_once)]

    def stored_numbers(self, state: Any) -> int:
        kept = [*self.fisher.values(), *self.anchor.values(), self.constant]
        return sum(tensor.numel() for tensor in kept)

    # --- while a task is trained --------------------------------------------------------------------------------

    def coinkit_before_step(self, state: Any) -> None:
        names = [name for name in state.trainable() if name in self.fisher]
        if not names:
            return  # the first task
        self._check_blocks(state)
        value, slopes = self.penalty(state.strategy.full_params(names, copy=False))
        grads = state.strategy.grads(names)
        torch._foreach_add_(list(grads.values()), slopes)
        state.strategy.set_grads(grads)
        state.note('EWC.penalty', value)

    def _check_blocks(self, state: Any) -> None:
        live = self._live(state)
        if live != self.blocks:
            raise RunError(f'EWC: the blocks {self.blocks} trained before and {live} train now, so there are no old '
                           'values to hold. Use EWC with a method that trains the same blocks in every task.')

    def _live(self, state: Any) -> list[str]:
        return list(state.bank.live) if state.bank is not None else []

    @torch.no_grad()
    def penalty(self, theta: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(lambda / 2) sum F (theta - theta*)^2, and its gradient lambda F (theta - theta*)."""
        fisher, anchor = ([kept[name] for name in theta] for kept in (self.fisher, self.anchor))
        away = torch._foreach_sub(list(theta.values()), anchor)
        slopes = torch._foreach_mul(fisher, away)
        energy = torch._foreach_norm(torch._foreach_mul(slopes, away), 1)  # no term is negative: the norm is the sum
        torch._foreach_mul_(slopes, self.ewc_lambda)
        return self.ewc_lambda / 2 * (self.constant + torch.stack(energy).sum()), slopes

    # --- after a task -------------------------------------------------------------------------------------------

    def coinkit_end_task(self, state: Any) -> None:
        theta = {name: parameter.detach().clone() for name, parameter in state.trainable().items()}
        self.remember(self.estimate(state), theta)
        self.blocks = self._live(state)

    def estimate(self, state: Any) -> dict[str, Tensor]:
        """F over `num_samples` samples of the task; every process passes over its share of them."""
        parameters = state.trainable()
        total = [torch.zeros_like(parameter) for parameter in parameters.values()]
        count = torch.zeros((), device=state.strategy.device)
        samples = state.draw(state.train_samples(), self.num_samples)
        for batch, output in state.each_batch(samples, grad=True, batch_size=self.batch_size, label='EWC: Fisher'):
            log_p = self.log_likelihood(state, batch, output) / len(batch)
            grads = torch.autograd.grad(log_p, list(parameters.values()), materialize_grads=True)
            torch._foreach_addcmul_(total, grads, grads)
            count += 1
        state.strategy.all_reduce_sum(count)
        return {name: state.strategy.all_reduce_sum(each) / count
                for name, each in zip(parameters, total, strict=True)}

    def log_likelihood(self, state: Any, batch: Any, output: Any) -> Tensor:
        """log p(y|x), summed over the batch; y is the data's answer, or drawn at its positions from the model."""
        if self.labels == 'empirical':
            return -output.token_loss_N.sum()
        generator = state.generator('EWC', state.task.name, *batch.ids)  # whatever the number of processes
        log_p_NV = output.logits_NV.log_softmax(-1)
        drawn_N = torch.multinomial(log_p_NV.detach().exp().cpu(), 1, generator=generator).to(log_p_NV.device)
        return log_p_NV.gather(1, drawn_N).sum()

    @torch.no_grad()
    def remember(self, fisher: Mapping[str, Tensor], theta: Mapping[str, Tensor]) -> None:
        """Add the penalty of one more task to those kept."""
        for name, new in fisher.items():
            if name not in self.fisher and not new.any():
                continue  # the loss does not reach it
            old, anchor = self.fisher.get(name, torch.zeros_like(new)), self.anchor.get(name, theta[name])
            if self.mode == 'online':
                self.fisher[name], self.anchor[name] = self.gamma * old + new, theta[name]
                continue
            total = old + new
            share = torch.where(total > 0, new / total, 1.0)
            self.constant = self.constant.to(new.device) + (old * share * (theta[name] - anchor) ** 2).sum()
            self.fisher[name], self.anchor[name] = total, torch.lerp(anchor, theta[name], share)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'fisher': self.fisher, 'anchor': self.anchor, 'constant': self.constant, 'blocks': self.blocks}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        device = state.strategy.device
        self.fisher, self.anchor = ({name: tensor.to(device) for name, tensor in blob[key].items()}
                                    for key in ('fisher', 'anchor'))
        self.constant, self.blocks = blob['constant'].to(device), list(blob['blocks'])
