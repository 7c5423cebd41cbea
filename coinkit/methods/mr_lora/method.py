"""MR-LoRA (MLLM-CL): isolated experts, and a router that is the model itself, tuned on a few records per task.

expert    theta^(t) = argmin L(theta; D_t), started at theta_0: LoRA, projector and, with `vision_lora`, the tower's linears
router    phi_k = argmin sum over R_k of CE(c(t) | image, prompt(question)),  R_k = union over i <= k of n records of D_i
answer    c = parse(f_phi_k(image, prompt(question))), then f_theta^(c)(image, question)

Both are blocks of one bank, and one of them is active. The router is trained before the expert of its stage, because
then the projector still is theta_0's, with which the router is also asked. One expert needs no router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from coinkit.data.references import Reference
from coinkit.methods.fine_tune import FineTune
from coinkit.methods.mr_lora.blocks import EXPERT, ROUTER, START, router_in_place, trained_outside, with_tower
from coinkit.methods.mr_lora.checks import EPOCHS, argument_problems, run_problems
from coinkit.methods.mr_lora.letters import ALPHABET
from coinkit.methods.mr_lora.pool import Pool
from coinkit.methods.mr_lora.records import draw_records, routing_records
from coinkit.methods.mr_lora.routing import Letters, ask_router
from coinkit.types import Phase, Query

if TYPE_CHECKING:
    from torch import Tensor

    from coinkit.nn.bank import AdapterBank


class MRLoRA(FineTune):
    """One expert per task, chosen for each query by the model itself."""

    storage = 'one adapter (and projector), a router adapter, and references to a few records'
    step_budget = 1.1
    blocks_change = 'phase'

    def __init__(self, *, rank: int = 128, alpha: float = 256.0, dropout: float = 0.05,
                 targets: str | list[str] | None = None, train_projector: bool = True, vision_lora: bool = False,
                 router_samples: int = 20, router_rank: int | None = None, router_alpha: float | None = None,
                 router_lr: float = 5e-6, router_epochs: float | None = None, router_steps: int | None = None,
                 router_batch_size: int = 32, router_init: Literal['base', 'previous', 'merged'] = 'base',
                 router_start: str | None = None, router_parse: Literal['strict', 'upstream'] = 'strict',
                 router_fallback: Literal['argmax', 'base', 'random'] = 'argmax', max_new_tokens: int = 16,
                 prompt: str | None = None, alphabet: str = ALPHABET, letters: dict[str, str] | None = None):
        super().__init__(rank=rank, alpha=alpha, dropout=dropout, targets=targets, train_projector=train_projector)
        self.vision_lora, self.router_samples = vision_lora, router_samples
        self.router_rank = rank if router_rank is None else router_rank
        self.router_scale = (alpha if router_alpha is None else router_alpha) / self.router_rank
        epochs = EPOCHS if router_epochs is None else router_epochs
        self.router_schedule = {'lr': router_lr, 'epochs': epochs, 'global_batch_size': router_batch_size,
                                'steps': router_steps, 'lr_schedule': 'cosine'}
        self.router_init, self.router_start = router_init, router_start
        self.reading = Letters(parse=router_parse, fallback=router_fallback, max_new_tokens=max_new_tokens)
        self.pool = Pool(alphabet, dict(letters or {}), prompt)
        self.records: dict[str, list[Reference]] = {}  # R, by task
        self._outside: dict[str, Tensor] | None = None  # theta_0 outside the bank, once it was read

    preflight = staticmethod(argument_problems)
    preflight_run = staticmethod(run_problems)

    def insert_bank(self, backbone: Any, config: Any) -> AdapterBank:
        from coinkit.nn.seeding import generator

        targets = with_tower(backbone, self.targets) if self.vision_lora else self.targets
        bank = backbone.insert_bank(targets=targets, dropout=self.dropout)
        bank.add(EXPERT, rank=self.rank, scale=self.alpha / self.rank, generator=generator(config.seed, 'init'))
        bank.add(ROUTER, rank=self.router_rank, scale=self.router_scale, active=False,
                 generator=generator(config.seed, 'init', 'router'))
        return bank

    # --- training -----------------------------------------------------------------------------------------------

    def coinkit_begin_task(self, state: Any) -> None:
        before = state.bank.state_dict([ROUTER])
        state.load_stage(START)
        if self.router_init == 'previous' and state.index > 0:
            state.bank.load_state_dict(before, strict=False)
        elif self.router_init == 'merged':
            state.bank.load_state_dict(self._published_start(state), strict=False)

    def _published_start(self, state: Any) -> dict[str, Tensor]:
        """The released script's start: a LoRA folder (which was not published)."""
        return {f'{module}.{ROUTER}.{half}': tensor
                for module, pair in state.backbone.read_lora(self.router_start).items()
                for half, tensor in zip('AB', pair, strict=True)}

    def coinkit_phases(self, state: Any) -> list[Phase]:
        expert = Phase(schedule=dict(state.task.expert_schedule))  # its block and the projector
        if state.index == 0:
            self.pool.check_fit(state)
            return [expert]
        for index, task in enumerate(state.stream[:state.index + 1]):
            if task.name not in self.records:
                self.records[task.name] = draw_records(state, index, self.router_samples)
        part = min(state.schedule().micro_batch_size, self.router_schedule['global_batch_size'])
        router = Phase('router', samples=routing_records(state, self.records, self.pool), trains=(ROUTER,),
                       schedule={**self.router_schedule, 'micro_batch_size': part})
        return [router, expert]

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'records': {name: [list(one) for one in rows] for name, rows in self.records.items()}}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        self.records = {name: [Reference(*one) for one in rows] for name, rows in blob['records'].items()}

    def stored_numbers(self, state: Any) -> int:
        """None beside the adapter, which holds expert and router."""
        return 0

    # --- answering ----------------------------------------------------------------------------------------------

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        if state.index < 0:
            self.pool.check_fit(state)  # known before theta_0 answers whole test sets
            return None
        if state.index == 0:
            return [state.stage_name] * len(queries)
        questions = self.pool.questions(state, state.index + 1)
        asked = [questions.ask(query) for query in queries]
        with self.router_in_place(state):
            found = ask_router(state, asked, [expert.letter for expert in questions.experts], self.reading)
        state.note('MRLoRA.unparsed', found.unparsed)
        state.note('MRLoRA.shortened', questions.shortened)
        stages = {expert.letter: state.stage_of(expert.name) for expert in questions.experts}
        return [START if letter is None else stages[letter] for letter in found.letters]

    def router_in_place(self, state: Any) -> Any:
        """A context in which the model is the stage's router."""
        if self._outside is None:
            self._outside = trained_outside(state)
        return router_in_place(state, self._outside)
