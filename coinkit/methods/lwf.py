"""LwF: answers like the model before this task, on this task's data (learning without forgetting; Li and Hoiem, 2016).

L' = L + lambda T^2 KL(p_old^(1/T) || p_new^(1/T)), averaged over the supervised tokens; nothing in the first task.

The teacher is the same model with the values that trained before this task (blocks and projector) put in for one forward
without gradient and dropout: no second model, no copy of the base. It is the model as all other methods leave it when the
task begins, projector included: LwF's hooks are called last. A picture tower that does not train is run once for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

from torch import Tensor

from coinkit.data.sampling import Mix
from coinkit.errors import Problem, RunError
from coinkit.hookspecs import hookimpl
from coinkit.methods.beside import anew_problems, at_once_problems, changing, twice_problems, unread
from coinkit.methods.lwf_cache import TeacherCache, id_problems
from coinkit.nn.losses import distillation, distillation_top_k
from coinkit.nn.recall import Recall
from coinkit.nn.swapping import with_values


class LwF:
    """Distil the model before the task while the task is learnt."""

    needs_task_id = False
    storage = 'nothing (the last adapter is the teacher)'
    step_budget = 1.5  # the teacher's forward

    def __init__(self, *, lwf_lambda: float = 1.0, temperature: float = 2.0,
                 lwf_teacher: Literal['live', 'cached_topk'] = 'live', top_k: int = 64):
        self.lwf_lambda, self.temperature, self.live, self.top_k = lwf_lambda, temperature, lwf_teacher == 'live', top_k
        self.teacher: dict[str, Tensor] = {}  # theta_{t-1} by parameter name; empty during the first task
        self.blocks: list[str] = []  # the bank's blocks among them
        self.cache: TeacherCache | None = None
        self.tower: Recall | None = None  # what the frozen picture tower gave to the student

    @classmethod
    def preflight(cls, *, lwf_lambda: float = 1.0, temperature: float = 2.0, lwf_teacher: str = 'live',
                  top_k: int | None = None) -> list[Problem]:
        """Values no run can use."""
        rules = [('lwf_lambda', lwf_lambda, lwf_lambda >= 0, '0 or more'),
                 ('temperature', temperature, temperature > 0, 'above 0'),
                 ('top_k', top_k, top_k is None or top_k >= 1, '1 or more'),
                 ('lwf_teacher', lwf_teacher, lwf_teacher in ('live', 'cached_topk'), "'live' or 'cached_topk'")]
        wrong = [Problem(f'LwF: {key}', f'given {given!r}, allowed: {allowed}.') for key, given, fine, allowed in rules
                 if not fine]
        ignored = unread('LwF', {'top_k': top_k}, ('top_k',), "lwf_teacher='live'") if lwf_teacher == 'live' else []
        return wrong or ignored

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, *, lwf_teacher: str = 'live', **_: Any) -> list[Problem]:
        """What does not go with the other methods, or not with the data."""
        never = [name for name, when in changing(config.methods).items() if when == 'phase']
        problems = [*at_once_problems('LwF', config), *twice_problems('LwF', config), *anew_problems('LwF', config),
                    *(Problem('methods', f'LwF has one teacher per task, and {name} trains other blocks from phase to '
                              'phase.', f'Leave out LwF or {name}.') for name in never)]
        if problems or lwf_teacher == 'live':
            return problems
        return id_problems(datasets, together=any(method['type'] == 'Replay' for method in config.methods))

    def stored_numbers(self, state: Any) -> int:
        return 0

    @hookimpl(trylast=True)  # the teacher has the blocks that other methods add now
    def coinkit_begin_task(self, state: Any) -> None:
        trained = state.trainable().items() if state.index > 0 else ()
        self.teacher = {name: parameter.detach().clone() for name, parameter in trained}
        self.blocks = self._live(state)

    @hookimpl(trylast=True)  # the cached teacher is asked about the rows that other methods add now
    def coinkit_mix_samples(self, state: Any, mix: Mix) -> None:
        self._check_blocks(state)
        self._forget()
        if self.teacher and self.live:
            self.tower = frozen_tower(state.backbone)
        elif self.teacher:
            with self._teaching(state):
                self.cache = TeacherCache.of(state, mix, k=self.top_k, temperature=self.temperature)

    def _check_blocks(self, state: Any) -> None:
        """The teacher's values are for the blocks that trained when the task began."""
        if self.teacher and self._live(state) != self.blocks:
            raise RunError(f"LwF: the blocks {self.blocks} trained when it took the teacher's values, and "
                           f'{self._live(state)} train now. LwF takes them behind all other methods: one that adds blocks '
                           'later, or whose phases train different blocks, cannot be used with it.')

    def _live(self, state: Any) -> list[str]:
        return list(state.bank.live) if state.bank is not None else []

    @contextmanager
    def _teaching(self, state: Any) -> Iterator[None]:
        """The model is the teacher inside: no dropout, no graph."""
        model = state.backbone.model
        was_training = model.training
        model.eval()
        try:
            with with_values(model, self.teacher):
                yield
        finally:
            model.train(was_training)

    def coinkit_loss_terms(self, state: Any, batch: Any, output: Any) -> dict[str, Tensor] | None:
        if not self.teacher:
            return None  # the first task
        if self.cache is not None:
            teacher = self.cache.read(batch, output)
            term_N = distillation_top_k(output.logits_NV, teacher, self.temperature)
        else:
            with self._teaching(state), self.tower.repeated() if self.tower else nullcontext():
                teacher_NV = state.strategy.forward(batch)['logits_NV']
            term_N = distillation(output.logits_NV, teacher_NV, self.temperature)
        return {'distillation': self.lwf_lambda * state.token_mean(term_N)}

    def coinkit_end_task(self, state: Any) -> None:
        self.teacher = {}  # make room; the next task begins with new ones
        self._forget()
        TeacherCache.remove(state)

    def _forget(self) -> None:
        if self.tower is not None:
            self.tower.remove()
        self.cache = self.tower = None


def frozen_tower(backbone: Any) -> Recall | None:
    """The picture tower, where there is one and nothing in it trains."""
    tower = backbone.model.get_submodule(backbone.vision_tower) if backbone.vision_tower else None
    trains = tower is None or any(parameter.requires_grad for parameter in tower.parameters())
    return None if trains else Recall(tower)
