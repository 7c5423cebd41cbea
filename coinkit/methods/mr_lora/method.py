"""MR-LoRA (MLLM-CL): isolated experts, and a router that is the model itself, tuned on a few records per task.

expert    theta^(t) = argmin L(theta; D_t), started at theta_0: LoRA, projector and, with `vision_lora`, the tower's linears
router    phi_k = argmin sum over R_k of CE(c(t) | image, prompt(question)),  R_k = union over i <= k of n records of D_i
answer    c = parse(f_phi_k(image, prompt(question))), then f_theta^(c)(image, question)

Both are blocks of one bank, and one of them is active. The router is trained before the expert of its stage, because
then the projector still is theta_0's, with which the router is also asked. One expert needs no router.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from coinkit.data.references import Reference, check_unchanged, quota, refer
from coinkit.errors import ConfigError, Problem
from coinkit.methods.fine_tune import FineTune
from coinkit.methods.mr_lora.letters import ALPHABET, alphabet_problems, assign_letters, stream_problems
from coinkit.methods.mr_lora.prompts import Expert, RoutingQuestions, prompt_problems, read_prompt, shipped_prompts
from coinkit.methods.mr_lora.records import RoutingRecords
from coinkit.methods.mr_lora.routing import Letters, ask_router
from coinkit.types import Phase, Query, Sample, Task, Turn

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank

START = '00-zero-shot'  # theta_0
EXPERT, ROUTER = 'expert', 'routing'  # blocks of the bank


class MRLoRA(FineTune):
    """One expert per task, chosen for each query by the model itself."""

    storage = 'one adapter (and projector), a router adapter, and references to a few records'
    step_budget = 1.1

    def __init__(self, *, rank: int = 128, alpha: float = 256.0, dropout: float = 0.05,
                 targets: str | list[str] | None = None, train_projector: bool = True, vision_lora: bool = False,
                 router_samples: int = 20, router_rank: int | None = None, router_alpha: float | None = None,
                 router_lr: float = 5e-6, router_epochs: float = 40, router_steps: int | None = None,
                 router_batch_size: int = 32, router_init: Literal['base', 'previous', 'merged'] = 'base',
                 router_start: str | None = None, router_parse: Literal['strict', 'upstream'] = 'strict',
                 router_fallback: Literal['argmax', 'base', 'random'] = 'argmax', max_new_tokens: int = 16,
                 prompt: str | None = None, alphabet: str = ALPHABET, letters: dict[str, str] | None = None):
        super().__init__(rank=rank, alpha=alpha, dropout=dropout, targets=targets, train_projector=train_projector)
        self.vision_lora, self.router_samples = vision_lora, router_samples
        self.router_rank = rank if router_rank is None else router_rank
        self.router_scale = (alpha if router_alpha is None else router_alpha) / self.router_rank
        self.router_schedule = {'lr': router_lr, 'epochs': router_epochs, 'global_batch_size': router_batch_size,
                                'steps': router_steps, 'lr_schedule': 'cosine'}
        self.router_init, self.router_start = router_init, router_start
        self.reading = Letters(parse=router_parse, fallback=router_fallback, max_new_tokens=max_new_tokens)
        self.prompt, self.alphabet, self.letters = prompt, alphabet, dict(letters or {})
        self.records: dict[str, list[Reference]] = {}  # R: rows of each task's training set
        self._start: dict[str, torch.Tensor] | None = None  # theta_0 outside the bank

    # --- before the first step ----------------------------------------------------------------------------------

    @classmethod
    def preflight(cls, *, router_samples: int = 20, router_rank: int | None = None, router_lr: float = 5e-6,
                  router_epochs: float = 40, router_steps: int | None = None, router_batch_size: int = 32,
                  router_init: str = 'base', router_start: str | None = None, max_new_tokens: int = 16,
                  prompt: str | None = None, alphabet: str = ALPHABET, letters: Mapping[str, str] | None = None,
                  **rest: Any) -> list[Problem]:
        least = {'router_samples': router_samples, 'router_rank': router_rank, 'router_steps': router_steps,
                 'router_batch_size': router_batch_size, 'max_new_tokens': max_new_tokens}
        problems = [Problem(f'methods: {key}', f'{value} given, at least 1 allowed.')
                    for key, value in least.items() if value is not None and value < 1]
        problems += [Problem(f'methods: {key}', f'{value} given, allowed: above 0.')
                     for key, value in (('router_lr', router_lr), ('router_epochs', router_epochs)) if value <= 0]
        if (router_init == 'merged') != (router_start is not None):
            problems.append(Problem('methods: router_start', f'{router_start!r} given with router_init={router_init!r}.',
                                    "Only router_init='merged' starts from a PEFT LoRA folder, router_start."))
        elif router_start is not None and not (Path(router_start) / 'adapter_config.json').is_file():
            problems.append(Problem('methods: router_start', f"'{router_start}' is no PEFT folder (adapter_config.json)."))
        problems += prompt_problems(prompt) if prompt is not None else []
        known = {key: value for key, value in rest.items() if key in ('rank', 'dropout')}
        return problems + alphabet_problems(alphabet, letters or {}) + FineTune.preflight(**known)

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, *, alphabet: str = ALPHABET,
                      letters: Mapping[str, str] | None = None, **_: Any) -> list[Problem]:
        """A letter for every task."""
        return stream_problems([task.name for task in datasets.stream], [task.name for task in config.benchmark.tasks],
                               alphabet, letters or {})

    def insert_bank(self, backbone: Any, config: Any) -> AdapterBank:
        from coinkit.nn.seeding import generator

        bank = backbone.insert_bank(targets=self._targets(backbone), dropout=self.dropout)
        bank.add(EXPERT, rank=self.rank, scale=self.alpha / self.rank, generator=generator(config.seed, 'init'))
        bank.add(ROUTER, rank=self.router_rank, scale=self.router_scale, active=False,
                 generator=generator(config.seed, 'init', 'router'))
        return bank

    def _targets(self, backbone: Any) -> str | list[str] | None:
        """Where the recipe has it, the linears of the vision tower beside the others."""
        if not self.vision_lora:
            return self.targets
        from coinkit.backbones.inject import find_targets

        if not backbone.vision_tower:
            raise ConfigError(Problem('methods: vision_lora', f'{type(backbone).__name__} names no vision tower.',
                                      'Set vision_lora=False, or name the linears in targets.'))
        tower = [name for name, module in backbone.model.named_modules()
                 if name.startswith(f'{backbone.vision_tower}.') and hasattr(module, 'in_features')]
        return list(dict.fromkeys([*find_targets(backbone.model, self.targets or backbone.lora_targets), *tower]))

    # --- training -----------------------------------------------------------------------------------------------

    def coinkit_begin_task(self, state: Any) -> None:
        before = state.bank.state_dict([ROUTER])
        state.load_stage(START)
        if self.router_init == 'previous' and state.index > 0:
            state.bank.load_state_dict(before, strict=False)
        elif self.router_init == 'merged':
            state.bank.load_state_dict(self._published_start(), strict=False)

    def _published_start(self) -> dict[str, torch.Tensor]:
        """The released script's start: a LoRA folder (which was not published)."""
        from coinkit.backbones.peft_io import read_peft

        return {f'{module}.{ROUTER}.{half}': tensor for module, pair in read_peft(self.router_start).factors.items()
                for half, tensor in zip('AB', pair, strict=True)}

    def coinkit_phases(self, state: Any) -> list[Phase]:
        expert = Phase(schedule=dict(state.task.expert_schedule))  # all of it: the block and the projector
        if state.index == 0:
            self._check_prompt(state)
            return [expert]
        records = self.routing_records(state)
        part = min(state.schedule().micro_batch_size, self.router_schedule['global_batch_size'])
        schedule = {**self.router_schedule, 'micro_batch_size': part}
        return [Phase('router', samples=records, trains=(ROUTER,), schedule=schedule), expert]

    def routing_records(self, state: Any) -> RoutingRecords:
        """R_k: n records of each task so far, as questions to the router."""
        questions, letters = self._questions(state, self.experts(state)), self._letters(state.stream)
        samples = []
        for index, task in enumerate(state.stream[:state.index + 1]):
            rows = state.train_samples(index)
            samples += [questions.teach(rows[one.index], letters[task.name]) for one in self._drawn(state, index)]
        if questions.shortened:
            state.reporter.say(f'{state.task.name}: {questions.shortened} questions were cut to fit the routing prompt.')
        return RoutingRecords(samples)

    def _drawn(self, state: Any, index: int) -> list[Reference]:
        """The task's part of R: drawn once, by the run's seed and the task."""
        name, rows = state.stream[index].name, state.train_samples(index)
        if name not in self.records:
            positions = quota(len(rows), self.router_samples, state.generator('MRLoRA', name))
            self.records[name] = refer(name, rows, positions)
        check_unchanged(rows, self.records[name])
        return self.records[name]

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'records': {name: [list(one) for one in rows] for name, rows in self.records.items()}}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        self.records = {name: [Reference(*one) for one in rows] for name, rows in blob['records'].items()}

    def stored_numbers(self, state: Any) -> int:
        """None beside the adapter, which holds expert and router."""
        return 0

    # --- answering ----------------------------------------------------------------------------------------------

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        if state.index <= 0:
            return [state.stage_name] * len(queries) if state.index == 0 else None
        experts = self.experts(state)
        questions = self._questions(state, experts)
        asked = [questions.ask(query) for query in queries]
        with self.router_in_place(state):
            found = ask_router(state, asked, [expert.letter for expert in experts], self.reading)
        state.note('MRLoRA.unparsed', found.unparsed)
        state.note('MRLoRA.shortened', questions.shortened)
        stages = {expert.letter: state.stage_of(expert.name) for expert in experts}
        return [START if letter is None else stages[letter] for letter in found.letters]

    @contextmanager
    def router_in_place(self, state: Any) -> Iterator[None]:
        """The router of the stage in the model, over theta_0's projector; afterwards the expert again."""
        bank, parameters = state.bank, dict(state.backbone.model.named_parameters())
        active, start = bank.active, self._theta_0(state)
        own = {name: parameters[name].detach().clone() for name in start}
        try:
            bank.set_active([ROUTER, *(name for name in active if name != EXPERT)])
            _copy(start, parameters)
            yield
        finally:
            _copy(own, parameters)
            bank.set_active(active)

    def _theta_0(self, state: Any) -> dict[str, torch.Tensor]:
        """What is trained outside the bank (the projector), as it was at the start."""
        from coinkit.nn.adapter_folder import load_adapter, split_tensors

        if self._start is None:
            self._start = split_tensors(load_adapter(state.run.adapter(START))[0])[1]
        return self._start

    # --- letters and prompt -------------------------------------------------------------------------------------

    def experts(self, state: Any, *, count: int | None = None) -> list[Expert]:
        """The experts there are, by letter (or the first `count` of the stream)."""
        letters = self._letters(state.stream)
        seen = state.stream[:state.index + 1 if count is None else count]
        return sorted((Expert(letters[task.name], task.name, task.description) for task in seen),
                      key=lambda expert: expert.letter)

    def _letters(self, stream: Sequence[Task]) -> dict[str, str]:
        return assign_letters([task.name for task in stream], self.alphabet, self.letters)

    def _questions(self, state: Any, experts: Sequence[Expert]) -> RoutingQuestions:
        return RoutingQuestions(state.backbone, read_prompt(self._prompt_name(state.config)), experts)

    def _prompt_name(self, config: Any) -> str:
        """The benchmark's own wording; the mini models have a small context and vocabulary."""
        name = 'mini' if config.backbone.get('checkpoint') == 'mini' else config.benchmark.name
        return self.prompt or (name if name in shipped_prompts() else 'default')

    def _check_prompt(self, state: Any) -> None:
        """The prompt for all experts of the stream fits the context: known before the first step."""
        record = state.train_samples(0)[0]
        bare = Sample(record.id, '', record.images, (Turn('human', ''),))
        self._questions(state, self.experts(state, count=len(state.stream))).ask(bare)


@torch.no_grad()
def _copy(values: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
