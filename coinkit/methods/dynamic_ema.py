"""DynamicEMA: an average theta* of what trains, with a weight per tensor and step (CIA, the first of its two parts).

    theta*_0 = theta_0;   after step t:  theta*_t = (1 - alpha_t) theta*_{t-1} + alpha_t theta_t      (Eq. 1)
    released:  alpha_t = 2 (1 + ||g_t||_1) / (||theta_t - theta*_{t-1}||_1 ||g_t - g_{t-1}||_1)
    paper:     the 2 is ||theta_{t-1} - theta*_{t-1}||_1                                             (Eq. 45)
    alpha_t outside (0, 1): 0.01

A tensor is a LoRA's A or B (of one expert, where a bank stacks several in one parameter), a gate, or one of the
projector's. Forward and backward use the raw theta: training is what it is without the average. When the task ends,
theta* takes the place of theta and is stored; the next task starts a new average. g_t is the step's whole gradient,
before clipping.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch

from coinkit.errors import ConfigError, Problem, RunError
from coinkit.hookspecs import hookimpl
from coinkit.methods.beside import changing, unread

if TYPE_CHECKING:
    from coinkit.nn.ema import DynamicAverage
    from coinkit.nn.ema_parts import Parts

STACKED = {'bank_A': 0, 'bank_B': 1}  # parameters of a bank's linears, and the dimension along which they hold blocks
NO_GROUPS = Problem('methods: ema_when', "'reuse' averages where a task joins a group, and no method of this run makes "
                    'groups.', "Add dict(type='InstructionGroups') to methods, or set ema_when='always'.")
CHOICES = {'ema_formula': ('released', 'paper'), 'ema_when': ('reuse', 'always', 'never'),
           'ema_scope': ('lora+projector', 'lora'), 'ema_init': ('theta0', 'after_first_step'),
           'ema_missing_grad': ('error', 'upstream'), 'ema_grad': ('averaged', 'upstream'), 'ema_dtype': ('fp32', 'param')}


class DynamicEMA:
    """Average the trained tensors with a weight chosen per tensor and step; keep the average."""

    needs_task_id = False
    storage = 'nothing between tasks; two copies of what trains while a task is trained'
    step_budget = 1.1
    averages = True  # what is stored is an average: one method of a run may do that

    def __init__(self, *, ema_formula: Literal['released', 'paper'] = 'released',
                 ema_when: Literal['reuse', 'always', 'never'] = 'reuse',
                 ema_scope: Literal['lora+projector', 'lora'] = 'lora+projector',
                 ema_init: Literal['theta0', 'after_first_step'] = 'theta0', ema_fixed: float | None = None,
                 ema_missing_grad: Literal['error', 'upstream'] = 'error',
                 ema_grad: Literal['averaged', 'upstream'] = 'averaged', ema_dtype: Literal['fp32', 'param'] = 'fp32'):
        self.formula, self.when, self.scope, self.init, self.fixed = ema_formula, ema_when, ema_scope, ema_init, ema_fixed
        self.missing_grad, self.grad, self.dtype = ema_missing_grad, ema_grad, ema_dtype
        self.average: DynamicAverage | None = None  # of the phase under way

    @classmethod
    def preflight(cls, *, ema_fixed: float | None = None, **arguments: Any) -> list[Problem]:
        """Values no run can use."""
        problems = [Problem(f'methods: {key}', f"'{arguments[key]}' given, {' or '.join(map(repr, allowed))} allowed.")
                    for key, allowed in CHOICES.items() if key in arguments and arguments[key] not in allowed]
        if ema_fixed is not None and not 0 < ema_fixed < 1:
            problems.append(Problem('methods: ema_fixed', f'{ema_fixed} given; the constant weight of the old average lies '
                                    'between 0 and 1, both left out.', 'The published ablation has 0.99.'))
        given = {**arguments, 'ema_fixed': ema_fixed}
        if arguments.get('ema_when') == 'never':  # what `compat` sets for every run is spared, here and below
            problems += unread('methods', given, ('ema_formula', 'ema_scope', 'ema_fixed'), "ema_when='never'")
        elif ema_fixed is not None:
            problems += unread('methods', given, ('ema_formula',), f'ema_fixed={ema_fixed}')
        return problems

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, *, ema_when: str = 'reuse',
                      ema_scope: str = 'lora+projector', **_: Any) -> list[Problem]:
        """'reuse' needs somebody who says so; a task is averaged in one phase; 'lora' needs one."""
        from coinkit.registry import METHODS

        if ema_when == 'never':
            return []
        grouped = any(hasattr(METHODS.get(method['type']), 'reuses') for method in config.methods)
        nothing = [Problem('methods', f'DynamicEMA averages what trains, and {method["type"]} trains nothing.',
                           f'Leave out DynamicEMA or {method["type"]}.') for method in config.methods
                   if getattr(METHODS.get(method['type']), 'evaluates', 'policy') == 'none']
        phased = [Problem('methods', f'DynamicEMA averages tasks of one phase, and {name} trains other blocks from phase to '
                          'phase.', f"Set ema_when='never', or leave out DynamicEMA or {name}.")
                  for name, when in changing(config.methods).items() if when == 'phase']
        whole = [Problem('methods: ema_scope', f"'lora' given, and {method['type']} with mode='full' trains none.",
                         "Set ema_scope='lora+projector': everything that trains.")
                 for method in config.methods if ema_scope == 'lora' and method.get('mode') == 'full']
        return nothing + phased + whole + ([] if grouped or ema_when != 'reuse' else [NO_GROUPS])

    # --- one task -----------------------------------------------------------------------------------------------

    def coinkit_begin_task(self, state: Any) -> None:
        self.average = None

    def coinkit_mix_samples(self, state: Any, mix: Any) -> None:
        """Called as a phase begins: a second phase would need an average of its own."""
        if self.average is not None:
            raise RunError(f'{state.task.name}, phase {state.phase.name}: DynamicEMA averages tasks of one phase, and this '
                           "is another. Set ema_when='never', or leave DynamicEMA out beside this method.")

    @hookimpl(trylast=True)  # the step's whole gradient, penalties of other methods with it
    def coinkit_before_step(self, state: Any) -> None:
        if not self.is_on(state):
            return
        if self.average is None:
            self.average = self.new_average(state)
        if self.init == 'theta0' and not self.average.average:
            self.average.start(self.theta(state))
        if self.fixed is None:
            self.average.read_gradients(self.gradients(state))

    @hookimpl(trylast=True)
    def coinkit_after_step(self, state: Any) -> None:
        if self.average is None:
            return
        if not self.average.average:  # theta*_1 = theta_1
            self.average.start(self.theta(state))
            return
        alpha_K = self.average.update(self.theta(state))
        state.note('DynamicEMA.alpha', alpha_K.mean())

    @hookimpl(tryfirst=True)  # what other methods measure and keep is theta*
    @torch.no_grad()
    def coinkit_end_task(self, state: Any) -> None:
        """theta <- theta*."""
        if self.average is None:
            return
        parameters = dict(state.backbone.model.named_parameters())
        for name, value in self.average.average.items():
            parameters[name].copy_(value)
        self.average = None

    def is_on(self, state: Any) -> bool:
        """Whether this task is averaged; 'reuse' asks the method that makes groups."""
        if self.when != 'reuse':
            return self.when == 'always'
        for plugin in state.hooks.plugins.values():
            if hasattr(plugin, 'reuses'):
                return plugin.reuses(state)
        raise ConfigError(NO_GROUPS)

    def new_average(self, state: Any) -> DynamicAverage:
        from coinkit.nn.ema import DynamicAverage

        return DynamicAverage(formula=self.formula, fixed=None if self.fixed is None else 1 - self.fixed,
                              rounded=state.backbone.dtype if self.dtype == 'param' else None, parts=self.parts(state))

    # --- what is averaged ---------------------------------------------------------------------------------------

    def names(self, state: Any) -> list[str] | None:
        """Of the tensors; None = all that train."""
        if self.scope == 'lora+projector':
            return None
        names = list(state.bank.trainable_parameters()) if state.bank is not None else []
        if not names:
            raise RunError(f"{state.task.name}: ema_scope='lora' and no LoRA trains. Set ema_scope='lora+projector'.")
        return names

    def parts(self, state: Any) -> dict[str, Parts]:
        """The blocks of each stacked parameter, where a bank has several that train."""
        from coinkit.nn.ema_parts import Parts

        live = state.bank.live if state.bank is not None else ()
        if len(live) < 2:
            return {}
        sizes = tuple(state.bank.blocks[name].rank for name in live)
        return {name: Parts(STACKED[half], sizes) for name in state.bank.trainable_parameters()
                if (half := name.rpartition('.')[-1]) in STACKED}

    def theta(self, state: Any) -> dict[str, torch.Tensor]:
        return state.strategy.full_params(self.names(state), copy=False)

    def gradients(self, state: Any) -> dict[str, torch.Tensor]:
        """g_t by name; where there is none, an error that names the tensor (or not-a-number, whose alpha is 0.01)."""
        if self.missing_grad == 'upstream':
            grads = self._gradients_that_exist(state)
        else:
            grads = state.strategy.grads(self.names(state), copy=False)
        if self.grad == 'upstream':
            return {name: grad.bfloat16().float() for name, grad in grads.items()}
        return grads

    def _gradients_that_exist(self, state: Any) -> dict[str, torch.Tensor]:
        missing = set(state.strategy.missing_grads(self.names(state)))
        grads = {name: torch.full_like(value, torch.nan) if name in missing else value
                 for name, value in self.theta(state).items()}
        return grads | state.strategy.grads([name for name in grads if name not in missing], copy=False)

    # --- checkpoints --------------------------------------------------------------------------------------------

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {} if self.average is None else {'average': self.average.state_dict()}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        self.average = None
        if 'average' in blob:
            self.average = self.new_average(state)
            self.average.load_state_dict(blob['average'], state.strategy.device)

    def stored_numbers(self, state: Any) -> int:
        """Nothing at the end of a task."""
        if self.average is None:
            return 0
        blob = self.average.state_dict()
        ways = [blob[key] for key in ('way', 'way_of_parts') if key in blob]
        return sum(tensor.numel() for tensor in (*blob['average'].values(), *blob['last_grads'].values(), *ways))
