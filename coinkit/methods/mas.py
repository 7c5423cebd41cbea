"""MAS: parameters on which old tasks' outputs depend are held near their old values (Aljundi et al., 2018).

After task t:   omega_t = E_x | d ||f(x)||_2^2 / d theta |, f the outputs at the answer's positions; no label is used
                Omega_t = ((t - 1) Omega_{t-1} + omega_t) / t,   theta* = theta                        (running mean)
While training: L' = L + lambda sum_p Omega_p (theta_p - theta*_p)^2                                   (no 1/2)

The penalty enters as its gradient before each step: the same maths, and right where parameters are partitioned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from coinkit.errors import Problem, RunError
from coinkit.methods.beside import at_once_problems, held_problems
from coinkit.nn.losses import quadratic


class MAS:
    """Memory aware synapses: importance from the outputs' sensitivity, without labels."""

    needs_task_id = False
    storage = '2 numbers per trained parameter, in all'
    step_budget = 1.1

    def __init__(self, *, mas_lambda: float = 1.0, num_samples: int = 200,
                 mas_output: Literal['logits', 'probs'] = 'logits'):
        self.mas_lambda, self.num_samples, self.output = mas_lambda, num_samples, mas_output
        self.omega: dict[str, Tensor] = {}  # Omega by parameter name, fp32
        self.anchor: dict[str, Tensor] = {}  # theta* by parameter name
        self.num_tasks, self.blocks = 0, []  # tasks averaged; the bank's blocks that trained then

    @classmethod
    def preflight(cls, *, mas_lambda: float = 1.0, num_samples: int = 200, mas_output: str = 'logits') -> list[Problem]:
        """Values no run can use."""
        rules = [('mas_lambda', mas_lambda, mas_lambda >= 0, '0 or more'),
                 ('num_samples', num_samples, num_samples >= 1, '1 or more'),
                 ('mas_output', mas_output, mas_output in ('logits', 'probs'), "'logits' or 'probs'")]
        return [Problem(f'MAS: {key}', f'given {given!r}, allowed: {allowed}.') for key, given, fine, allowed in rules
                if not fine]

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, **_: Any) -> list[Problem]:
        """What does not go with the other methods."""
        return at_once_problems('MAS', config) + held_problems('MAS', config)

    def stored_numbers(self, state: Any) -> int:
        return sum(tensor.numel() for kept in (self.omega, self.anchor) for tensor in kept.values())

    # --- while a task is trained --------------------------------------------------------------------------------

    def coinkit_before_step(self, state: Any) -> None:
        names = [name for name in state.trainable() if name in self.omega]
        if not names:
            return  # the first task
        self._check_blocks(state)
        value, slopes = quadratic(state.strategy.full_params(names, copy=False), self.anchor, self.omega, self.mas_lambda)
        grads = state.strategy.grads(names)
        torch._foreach_add_(list(grads.values()), list(slopes.values()))
        state.strategy.set_grads(grads)
        state.note('MAS.penalty', value)

    def _check_blocks(self, state: Any) -> None:
        blocks = self._live(state)
        if blocks != self.blocks:
            raise RunError(f'MAS: the blocks {self.blocks} trained before and {blocks} train now, so there are no old '
                           'values to hold. Use MAS with a method that trains the same blocks in every task.')

    def _live(self, state: Any) -> list[str]:
        return list(state.bank.live) if state.bank is not None else []

    # --- after a task -------------------------------------------------------------------------------------------

    def coinkit_end_task(self, state: Any) -> None:
        theta = {name: parameter.detach().clone() for name, parameter in state.trainable().items()}
        self.remember(self.importance(state), theta)
        self.blocks = self._live(state)

    def importance(self, state: Any) -> dict[str, Tensor]:
        """omega over `num_samples` samples of the task, one gradient per sample; every process has a share of them."""
        parameters = state.trainable()
        total = [torch.zeros_like(parameter) for parameter in parameters.values()]
        count = torch.zeros((), device=state.strategy.device)
        samples = state.draw(state.train_samples(), self.num_samples)
        for _, output in state.each_batch(samples, grad=True, batch_size=1, label='MAS: importance'):
            f_NV = output.logits_NV if self.output == 'logits' else output.logits_NV.softmax(-1)
            grads = torch.autograd.grad(f_NV.square().sum(), list(parameters.values()), materialize_grads=True)
            torch._foreach_add_(total, torch._foreach_abs(grads))
            count += 1
        state.strategy.all_reduce_sum(count)
        return {name: state.strategy.all_reduce_sum(each) / count for name, each in zip(parameters, total, strict=True)}

    @torch.no_grad()
    def remember(self, omega: Mapping[str, Tensor], theta: Mapping[str, Tensor]) -> None:
        """Average one more task in and move the anchor."""
        self.num_tasks += 1
        self.omega = {name: torch.lerp(self.omega.get(name, torch.zeros_like(new)), new, 1 / self.num_tasks)
                      for name, new in omega.items()}
        self.anchor = {name: theta[name] for name in omega}

    # --- checkpoints --------------------------------------------------------------------------------------------

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'omega': self.omega, 'anchor': self.anchor, 'num_tasks': self.num_tasks, 'blocks': self.blocks}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        device = state.strategy.device
        self.omega, self.anchor = ({name: tensor.to(device) for name, tensor in blob[key].items()}
                                   for key in ('omega', 'anchor'))
        self.num_tasks, self.blocks = blob['num_tasks'], list(blob['blocks'])
