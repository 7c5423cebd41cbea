"""CIA: tasks with like instructions share an adapter, and re-training one keeps a moving average of it.

`CIA` is FineTune, InstructionGroups and DynamicEMA as one method: a task that joins a group is trained from the group's
adapter and averaged, a task that opens one is trained as FineTune would. Listing the three in `methods` is the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from coinkit.errors import Problem
from coinkit.hookspecs import hookimpl
from coinkit.methods.dynamic_ema import DynamicEMA
from coinkit.methods.fine_tune import FineTune
from coinkit.methods.instruction_groups import InstructionGroups
from coinkit.types import Query


class CIA(FineTune):
    """Group tasks by their instructions; re-train a group's adapter under a dynamic moving average."""

    storage = InstructionGroups.storage
    step_budget, averages = DynamicEMA.step_budget, DynamicEMA.averages

    def __init__(self, *, rank: int = 128, alpha: float = 256.0, dropout: float = 0.05,
                 targets: str | list[str] | None = None, train_projector: bool = True,
                 style: Literal['original', 'diverse', '10type'] = 'original', threshold: float | None = None,
                 expand_init: Literal['last', 'random'] = 'last', group_sim: Literal['mean', 'max'] = 'mean',
                 group_granularity: Literal['dataset', 'sample'] = 'dataset',
                 group_empty: Literal['zero', 'error'] = 'zero', test_miss: Literal['argmax', 'upstream'] = 'argmax',
                 cia_chain: Literal['computed', 'released'] = 'computed', template_line: dict[str, int] | None = None,
                 ema_formula: Literal['released', 'paper'] = 'released',
                 ema_when: Literal['reuse', 'always', 'never'] = 'reuse',
                 ema_scope: Literal['lora+projector', 'lora'] = 'lora+projector',
                 ema_init: Literal['theta0', 'after_first_step'] = 'theta0', ema_fixed: float | None = None,
                 ema_missing_grad: Literal['error', 'upstream'] = 'error',
                 ema_grad: Literal['averaged', 'upstream'] = 'averaged', ema_dtype: Literal['fp32', 'param'] = 'fp32'):
        super().__init__(rank=rank, alpha=alpha, dropout=dropout, targets=targets, train_projector=train_projector)
        self.groups = InstructionGroups(
            style=style, threshold=threshold, expand_init=expand_init, group_sim=group_sim, test_miss=test_miss,
            group_granularity=group_granularity, group_empty=group_empty, cia_chain=cia_chain,
            template_line=template_line)
        self.ema = DynamicEMA(
            ema_formula=ema_formula, ema_when=ema_when, ema_scope=ema_scope, ema_init=ema_init, ema_fixed=ema_fixed,
            ema_missing_grad=ema_missing_grad, ema_grad=ema_grad, ema_dtype=ema_dtype)
        self.needs_task_id, self.uses_test_sets = self.groups.needs_task_id, self.groups.uses_test_sets

    @classmethod
    def preflight(cls, **arguments: Any) -> list[Problem]:
        """The problems of all three."""
        return [problem for part in (FineTune, InstructionGroups, DynamicEMA) for problem in part.preflight(**arguments)]

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, **arguments: Any) -> list[Problem]:
        return InstructionGroups.preflight_run(config, datasets, **arguments)

    def reuses(self, state: Any) -> bool:
        return self.groups.reuses(state)

    @hookimpl(tryfirst=True)  # as InstructionGroups
    def coinkit_begin_task(self, state: Any) -> None:
        self.groups.coinkit_begin_task(state)
        super().coinkit_begin_task(state)
        self.ema.coinkit_begin_task(state)

    def coinkit_mix_samples(self, state: Any, mix: Any) -> None:
        self.ema.coinkit_mix_samples(state, mix)

    @hookimpl(trylast=True)  # the step's whole gradient, penalties of other methods with it
    def coinkit_before_step(self, state: Any) -> None:
        self.ema.coinkit_before_step(state)

    @hookimpl(trylast=True)
    def coinkit_after_step(self, state: Any) -> None:
        self.ema.coinkit_after_step(state)

    @hookimpl(tryfirst=True)  # what other methods measure and keep is theta*
    def coinkit_end_task(self, state: Any) -> None:
        self.ema.coinkit_end_task(state)

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        return self.groups.coinkit_route(state, queries)

    def right_stages(self, state: Any, task: str) -> list[str]:
        return self.groups.right_stages(state, task)

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'groups': self.groups.coinkit_state_dict(state), 'ema': self.ema.coinkit_state_dict(state)}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        self.groups.coinkit_load_state_dict(state, blob['groups'])
        self.ema.coinkit_load_state_dict(state, blob['ema'])

    def stored_numbers(self, state: Any) -> int:
        return self.groups.stored_numbers(state) + self.ema.stored_numbers(state)

    def coinkit_report_sections(self, run: Any) -> list[tuple[str, str]]:
        return self.groups.coinkit_report_sections(run)
