"""InstructionGroups: tasks whose instructions are alike share one adapter (CIA, the second of its two parts).

U_t = distinct instructions of task t;  sim_k = mean_{u in U_t, h in group k} cos(tfidf(u), tfidf(h));  k* = argmax_k sim_k
sim_k* >= tau:  re-train group k*: start from its newest adapter, and add U_t to its instructions      (Algorithm 1)
otherwise:      expand: a new group; start from the adapter trained last

At test time the instructions of a whole test set choose the group that answers it, or each question chooses by its own
(`group_granularity='sample'`). tau is 0.90 for one wording of all tasks, 0.30 for diverse wordings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from coinkit import atomic
from coinkit.data.templates import Template
from coinkit.data.tfidf import PairSimilarity, group_scores
from coinkit.errors import ConfigError, Problem, unknown
from coinkit.hookspecs import hookimpl
from coinkit.methods import codebook_source, instruction_reading
from coinkit.methods.beside import at_once_problems, unread
from coinkit.methods.codebook_source import FILE, FOLDER
from coinkit.methods.instruction_codebook import Codebook, Decision, section
from coinkit.methods.released_chains import RELEASED, chain_problems
from coinkit.types import Query, Sample

TAU = {'original': 0.90, 'diverse': 0.30, '10type': 0.30}
CHOICES = {'style': tuple(TAU), 'expand_init': ('last', 'random'), 'group_sim': ('mean', 'max'),
           'group_granularity': ('dataset', 'sample'), 'group_empty': ('zero', 'error'),
           'test_miss': ('argmax', 'upstream'), 'cia_chain': ('computed', 'released')}
BOUNDARIES = 'The instructions of a whole test set choose the adapter that answers it: this uses test-set boundaries.'
ONE_BY_ONE = 'Each question chooses the adapter that answers it by its own instruction.'


class InstructionGroups:
    """Let tasks with similar instructions share an adapter, chosen by TF-IDF."""

    needs_task_id = False  # but for `template_line` and the released chain, which go by the task's name
    uses_test_sets = True  # but for group_granularity='sample'
    storage = 'one adapter per group of tasks, and the instructions of each'
    step_budget = 1.0

    def __init__(self, *, style: Literal['original', 'diverse', '10type'] = 'original', threshold: float | None = None,
                 expand_init: Literal['last', 'random'] = 'last', group_sim: Literal['mean', 'max'] = 'mean',
                 group_granularity: Literal['dataset', 'sample'] = 'dataset',
                 group_empty: Literal['zero', 'error'] = 'zero', test_miss: Literal['argmax', 'upstream'] = 'argmax',
                 cia_chain: Literal['computed', 'released'] = 'computed', template_line: dict[str, int] | None = None):
        self.style, self.threshold = style, TAU[style] if threshold is None else threshold
        self.expand_init, self.group_sim, self.test_miss, self.chain = expand_init, group_sim, test_miss, cia_chain
        self.template_line = dict(template_line or {})
        self.uses_test_sets = group_granularity == 'dataset'
        self.needs_task_id = cia_chain == 'released' or bool(self.template_line)
        self.similarity = PairSimilarity(empty=group_empty)
        self.codebook = Codebook()

    @classmethod
    def preflight(cls, *, threshold: float | None = None, template_line: Mapping[str, int] | None = None,
                  **arguments: Any) -> list[Problem]:
        """Values no run can use."""
        problems = [Problem(f'methods: {key}', f"'{arguments[key]}' given, {' or '.join(map(repr, allowed))} allowed.")
                    for key, allowed in CHOICES.items() if key in arguments and arguments[key] not in allowed]
        if threshold is not None and not 0 < threshold <= 1:
            problems.append(Problem('methods: threshold', f'{threshold} given; similarities lie between 0 and 1.',
                                    'Leave it out: it follows from style.'))
        problems += [Problem(f'methods: template_line.{task}', '0 given; lines count from 1, or from the end from -1.')
                     for task, line in (template_line or {}).items() if line == 0]
        if arguments.get('cia_chain') == 'released':  # goes by the tasks' names; `compat` may set the other keys
            given = {**arguments, 'threshold': threshold}
            problems += unread('methods', given, ('threshold', 'group_sim', 'group_granularity'), "cia_chain='released'")
        return problems

    @classmethod
    def preflight_run(cls, config: Any, datasets: Any, *, style: str = 'original', cia_chain: str = 'computed',
                      template_line: Mapping[str, int] | None = None, group_granularity: str = 'dataset',
                      **_: Any) -> list[Problem]:
        """What does not fit this run's tasks, their rows, other methods or source."""
        if problems := at_once_problems('InstructionGroups', config):
            return problems
        names = [task.name for task in datasets.stream]
        problems = [unknown('methods: template_line', 'task', name, names) for name in template_line or {}
                    if name not in names]
        if cia_chain == 'released':
            problems += chain_problems(style, names)
        problems += codebook_source.problems(config)
        return problems or instruction_reading.problems(config, datasets, lines=template_line or {},
                                                        tests=cia_chain != 'released', sample=group_granularity == 'sample')

    # --- training -----------------------------------------------------------------------------------------------

    @hookimpl(tryfirst=True)  # others add blocks to the adapter that the task starts from, or take a teacher from it
    def coinkit_begin_task(self, state: Any) -> None:
        if state.index == 0 and state.config.init_from:
            self.codebook = codebook_source.take_over(state)
        texts = self.instructions(state)
        decision = self.as_released(state) if self.chain == 'released' else self.decide(state, texts)
        self._start(state, decision)
        self.codebook.add(decision, texts, state.stage_name)
        state.reporter.say(str(decision))
        if state.strategy.is_main:
            atomic.write_json(state.store(FOLDER) / FILE, self._to_json(state))

    def instructions(self, state: Any) -> tuple[str, ...]:
        """U_t."""
        template = self.templates(state)[state.task.name]
        return instruction_reading.of_samples(state.train_samples(), template, where=f'{state.task.name}: training set',
                                              rows=rows(state))

    def decide(self, state: Any, texts: Sequence[str]) -> Decision:
        """Re-train the group that is most alike, or expand."""
        scores, groups = self.scores(texts), self.codebook.groups
        best = max(range(len(scores)), key=scores.__getitem__, default=0)  # the first of equals
        joins = bool(scores) and scores[best] >= self.threshold
        return Decision(state.task.name, best if joins else len(groups), joins, joins, groups[best].stage if joins else '',
                        tuple(scores))

    def as_released(self, state: Any) -> Decision:
        """By the table of the released scripts."""
        links, name = RELEASED[self.style], state.task.name
        link = links[name]
        same = [k for k, group in enumerate(self.codebook.groups) if links[group.tasks[0]].answers == link.answers]
        group = same[0] if same else len(self.codebook.groups)
        return Decision(name, group, bool(same), link.averaged, state.stage_of(link.start) if link.start else '')

    def scores(self, texts: Sequence[str]) -> list[float]:
        """sim_k of every group."""
        return group_scores(texts, [group.templates for group in self.codebook.groups], self.similarity,
                            reduce=self.group_sim)

    def _start(self, state: Any, decision: Decision) -> None:
        if decision.start:
            state.load_stage(decision.start)
        elif self.expand_init == 'random' and state.index > 0:
            state.load_stage('00-zero-shot')  # the projector's start; its LoRA is the first task's
            for block in state.bank.blocks if state.bank is not None else ():
                state.bank.reinit(block, state.generator(FOLDER, state.index, block))

    def reuses(self, state: Any) -> bool:
        """Whether the current task is averaged: it joins a group, or the released script says so."""
        newest = self.codebook.decisions[-1] if self.codebook.decisions else None
        return newest is not None and newest.task == state.task.name and newest.averaged

    # --- routing ------------------------------------------------------------------------------------------------

    def coinkit_route(self, state: Any, queries: Sequence[Query]) -> list[str] | None:
        if not self.codebook.groups or not queries:
            return None
        if self.chain == 'released':
            return [self._released_stage(query.task) for query in queries]
        if self.uses_test_sets:
            texts = instruction_reading.of_test_set(queries, self.templates(state), self.codebook.groups)
            return [self.stage_for(texts)] * len(queries)
        templates, any_task = self.templates(state), Template(tuple(state.config.benchmark.templates))
        texts = [templates.get(query.task, any_task).instruction_of(query) for query in queries]
        stages = {text: self.stage_for((text,)) for text in dict.fromkeys(texts)}
        return [stages[text] for text in texts]

    def stage_for(self, texts: Sequence[str]) -> str:
        """The adapter of the group that is most alike."""
        scores = self.scores(texts)
        best = max(range(len(scores)), key=scores.__getitem__)
        missed = self.test_miss == 'upstream' and scores[best] < self.threshold
        return self.codebook.groups[-1 if missed else best].stage

    def _released_stage(self, task: str) -> str:
        links = RELEASED[self.style]
        same = [group for group in self.codebook.groups if links[group.tasks[0]].answers == links[task].answers]
        return (same or self.codebook.groups)[-1].stage

    def right_stages(self, state: Any, task: str) -> list[str]:
        """The newest adapter of the task's group, whatever task of the group trained it last."""
        return [group.stage for group in self.codebook.groups if task in group.tasks][-1:]

    def templates(self, state: Any) -> dict[str, Template]:
        return instruction_reading.templates_of(state.config.benchmark, self.template_line)

    # --- the codebook -------------------------------------------------------------------------------------------

    def _to_json(self, state: Any) -> dict[str, Any]:
        return {'benchmark': state.config.benchmark.name, 'style': self.style, 'threshold': self.threshold,
                **self.codebook.to_json()}

    def coinkit_state_dict(self, state: Any) -> dict[str, Any]:
        return {'codebook': self._to_json(state)}

    def coinkit_load_state_dict(self, state: Any, blob: Mapping[str, Any]) -> None:
        if problems := codebook_source.foreign(str(state.run.path), blob['codebook'], state.config.benchmark.name):
            raise ConfigError(problems)
        self.codebook = Codebook.from_json(blob['codebook'])

    def stored_numbers(self, state: Any) -> int:
        """Instructions are words."""
        return 0

    def coinkit_report_sections(self, run: Any) -> list[tuple[str, str]]:
        path = run.path / 'methods' / FOLDER / FILE
        if not path.exists():
            return []
        return [section(json.loads(path.read_text(encoding='utf-8')),
                        note=BOUNDARIES if self.uses_test_sets else ONE_BY_ONE)]


def rows(state: Any) -> Iterator[Sample]:
    """The current task's training set, with a bar."""
    samples = state.train_samples()
    with state.reporter.bar(f'{state.task.name}: instructions', len(samples), unit='rows') as bar:
        for i in range(len(samples)):
            state.interrupt.check('the stages finished so far are saved')
            yield samples[i]
            bar.advance()
