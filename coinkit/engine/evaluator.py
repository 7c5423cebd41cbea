"""Fills cells of the matrix: route, generate in batches, write the predictions, score them, record the cell.

A cell is skipped when the ledger has it, copied when an earlier cell had the same weights and questions, resumed from
its finished batches when it was interrupted. The batch plan depends on the requests and the token budget alone, so
every way leads to the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from coinkit import atomic
from coinkit.engine import builder, generation
from coinkit.engine.asking import ask_share
from coinkit.engine.interrupt import Interrupt
from coinkit.engine.ledger import Ledger
from coinkit.engine.log import RunLog
from coinkit.engine.partial import PartialAnswers
from coinkit.engine.run_dir import RunDir
from coinkit.errors import RunError
from coinkit.metrics.base import bad_image_counts
from coinkit.nn.seeding import derive
from coinkit.registry import METRICS
from coinkit.types import BAD_IMAGE, Cell, Prediction, Query, Sample, ScoreMatrix, Task

if TYPE_CHECKING:
    from coinkit.engine.state import RunState


class Evaluator:
    """The cells of one run. The stage to evaluate must be in the model."""

    def __init__(self, state: RunState, ledger: Ledger, log: RunLog, interrupt: Interrupt):
        self.state, self.run, self.ledger, self.log, self.interrupt = state, state.run, ledger, log, interrupt
        self.knows_task = bool(builder.needs_task_id(state))

    def missing(self, stage: int, tasks: Iterable[int]) -> list[int]:
        """Those of `tasks` (by position) that have no scored cell in row `stage`."""
        name = RunDir.stage_name(stage, self.state.stream)
        return [j for j in tasks if self.ledger.last('cell_scored', stage=name, task=self.state.stream[j].name) is None]

    def stage(self, stage: int, tasks: Iterable[int]) -> None:
        """Score the missing cells of row `stage`; the model ends as it began."""
        name = RunDir.stage_name(stage, self.state.stream)
        for j in self.missing(stage, tasks):
            self.interrupt.check(f'the cells scored so far are in {self.run.path}')
            record = self._cell(name, j)
            self.ledger.append('cell_scored', **record)
            PartialAnswers(self.run.predictions(name, self.state.stream[j])).remove(
                only_on=self.state.strategy.is_main)
            self._publish(stage, record)

    def catch_up(self) -> None:
        """What a kill right after a cell's ledger line left undone: the matrix lacks it, its partial answers remain."""
        for name, task in {(record['stage'], record['task']) for record in self.ledger.all('cell_scored')}:
            task = next(each for each in self.state.stream if each.name == task)
            PartialAnswers(self.run.predictions(name, task)).remove(only_on=self.state.strategy.is_main)
        if self.ledger.last('cell_scored') is not None:
            self.write_matrix()

    def write_matrix(self) -> None:
        if self.state.strategy.is_main:
            atomic.write_json(self.run.matrix, matrix(self.ledger, self.state.stream).to_json())

    # --- one cell -----------------------------------------------------------------------------------------------

    def _cell(self, name: str, j: int) -> dict[str, Any]:
        state, task = self.state, self.state.stream[j]
        dataset = state.datasets.test(j)
        samples = [dataset[i] for i in range(len(dataset))]
        state.token_budget = self.token_budget
        state.notes.clear()
        routes = self._routes(task, samples)
        notes = {key: float(value) for key, value in state.notes.items()}  # what coinkit_route has to say
        state.notes.clear()
        signature = self._signature(name, task, dataset.fingerprint, routes)
        path = self.run.predictions(name, task)
        if not self._copied(signature, task, path):
            found = self._answers(name, task, samples, routes, signature)
            if state.strategy.is_main:
                self._write(path, samples, found, routes)
        state.strategy.barrier()
        record = self._score(path, task, name, signature) if state.strategy.is_main else {}
        record |= {'notes': notes} if notes else {}
        record |= {'right': right} if routes is not None and (right := self._right_stages(j)) else {}
        return state.strategy.gather_json(record)[0]

    def _routes(self, task: Task, samples: Sequence[Sample]) -> list[str] | None:
        """The stage whose adapter answers each sample; None = the one in the model."""
        if not self.state.hooks.has('coinkit_route'):
            return None
        self.state.seed('route', *(derive(one.id, *one.turns) for one in samples))  # by the questions, not the task's name
        name = task.name if self.knows_task else None
        queries = [Query(sample.id, sample.images, sample.turns, name) for sample in samples]
        routed = self.state.hooks.first('coinkit_route', state=self.state, queries=queries)
        if routed is None:
            return None
        plugin, keys = routed
        known = {record['stage'] for record in self.ledger.all('stage_done')}
        wrong = sorted(set(keys) - known)
        if wrong or len(keys) != len(samples):
            what = f'unknown stage {wrong[0]!r}' if wrong else f'{len(keys)} routes for {len(samples)} queries'
            raise RunError(f"coinkit_route of plug-in '{plugin}': {what}. Finished stages: {', '.join(sorted(known))}.")
        return list(keys)

    def _right_stages(self, j: int) -> list[str]:
        """Stages that are right for a task's questions, for the report; none before the task is trained."""
        state = self.state
        if j > state.index:
            return []
        task = state.stream[j].name
        for plugin in map(state.hooks.plugins.get, state.hooks.implementers('coinkit_route')):
            if hasattr(plugin, 'right_stages'):
                return list(plugin.right_stages(state, task))
        return [state.stage_of(task)]

    def _signature(self, name: str, task: Task, fingerprint: str, routes: list[str] | None) -> str:
        """Equal signatures: the same weights answer the same questions under the same settings."""
        keys = [name] if routes is None else sorted(set(routes))
        weights = {key: self.ledger.last('stage_done', stage=key)['adapter_sha256'] for key in keys}
        parts = {'weights': sorted(map(str, weights.values())), 'data': fingerprint, 'generation': self._generation(task),
                 'budget': self.token_budget,
                 'routes': None if routes is None else [weights[key] for key in routes]}
        if routes is not None and len(keys) == 1:
            parts['routes'] = None  # one adapter for all: the same as no routing
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def _generation(self, task: Task) -> dict[str, Any]:
        """The task's settings; the run's own length goes before."""
        longest = self.state.config.evaluation.max_new_tokens
        return dict(task.generation) if longest is None else {**task.generation, 'max_new_tokens': longest}

    @property
    def token_budget(self) -> int:
        """From the config, or measured once and kept in the ledger: the batch plan must not change on a restart."""
        if self.state.config.evaluation.token_budget is not None:
            return self.state.config.evaluation.token_budget
        if self.ledger.last('token_budget') is None:
            probed = generation.default_token_budget(self.state.backbone)
            agreed = min(self.state.strategy.gather_json(probed))
            self.ledger.append('token_budget', value=agreed)
        return self.ledger.last('token_budget')['value']

    def _copied(self, signature: str, task: Task, path) -> bool:
        earlier = self.ledger.last('cell_scored', signature=signature, task=task.name)
        if earlier is None:
            return False
        source = self.run.predictions(earlier['stage'], task)
        if not source.exists() or atomic.sha256_file(source) != earlier['predictions_sha256']:
            return False
        if self.state.strategy.is_main:
            atomic.write_bytes(path, source.read_bytes())
        return True

    # --- answers ------------------------------------------------------------------------------------------------

    def _answers(self, name: str, task: Task, samples: Sequence[Sample], routes: list[str] | None,
                 signature: str) -> PartialAnswers:
        """The answers, complete on the main rank; each rank answers its share of the batches."""
        state, path = self.state, self.run.predictions(name, task)
        partial = PartialAnswers(path, signature)
        done = partial.read()
        state.strategy.barrier()  # every rank has read before any rank writes
        groups: dict[str | None, list[int]] = {}
        for position in range(len(samples)):
            groups.setdefault(None if routes is None else routes[position], []).append(position)
        label = f'{name} on {task.name}'
        with partial.writer(state.strategy.rank) as write, \
                state.reporter.bar(label, len(samples), unit='samples', done=len(done)) as bar:
            for key, positions in groups.items():
                if key is not None:
                    state.load_stage(key)
                complaint = ask_share(state, samples, positions, max_new_tokens=self._generation(task)['max_new_tokens'],
                                      done=done, write=write, bar=bar)
                if complaint:
                    state.reporter.say(f'{task.name}: {complaint}')
        if routes is not None:
            state.load_stage(name)
        state.strategy.barrier()
        return partial

    def _write(self, path, samples: Sequence[Sample], found: PartialAnswers, routes: list[str] | None) -> None:
        answers, bad_images, lines = found.read(), found.bad_images(), []
        for position, sample in enumerate(samples):
            bad = {BAD_IMAGE: bad_images[position]} if position in bad_images else {}
            line = Prediction(sample.id, answers[position], sample.references, {**sample.meta, **bad},
                              None if routes is None else routes[position])
            lines.append(json.dumps(line.to_json(), ensure_ascii=False) + '\n')
        atomic.write_text(path, ''.join(lines))

    # --- scores -------------------------------------------------------------------------------------------------

    def _score(self, path, task: Task, name: str, signature: str) -> dict[str, Any]:
        lines = path.read_bytes().splitlines()  # as bytes: text also splits at U+0085 and U+2028, which answers may hold
        predictions = [Prediction.from_json(json.loads(line)) for line in lines]
        score = METRICS.build(dict(task.metric)).score(predictions)
        count = score.counts.get('items', len(predictions))  # what was divided by
        return {'stage': name, 'task': task.name, 'score': score.value, 'count': count,
                'metric': task.metric['type'], 'counts': {**score.counts, **bad_image_counts(predictions)},
                'details': dict(score.details), 'signature': signature, 'predictions_sha256': atomic.sha256_file(path)}

    def _publish(self, stage: int, record: dict[str, Any]) -> None:
        """matrix.json, the log, the hooks and the console."""
        self.write_matrix()
        self.log.score(stage, record['task'], record['score'])
        cell = Cell(stage, record['task'], record['score'], record['count'], record['metric'])
        self.state.hooks.call('coinkit_cell_scored', state=self.state, cell=cell)
        shown = 'undefined' if record['score'] is None else f'{record["score"]:.2f}'
        bad = ''.join(f', {record["counts"][key]} {key.replace("_", " ")}' for key in ('skipped', 'without_picture')
                      if key in record['counts'])
        self.state.reporter.say(f'{record["stage"]} on {record["task"]}: {record["metric"]} {shown}{bad}')


def matrix(ledger: Ledger, stream: Sequence[Task]) -> ScoreMatrix:
    """The matrix as far as it is measured."""
    cells = {(record['stage'], record['task']): record for record in ledger.all('cell_scored')}
    names = [RunDir.stage_name(stage, stream) for stage in range(len(stream) + 1)]

    def row(name: str) -> tuple[float | None, ...]:
        return tuple(cells[name, task.name]['score'] if (name, task.name) in cells else None for task in stream)

    zero = row(names[0])
    newest = {record['task']: record for record in cells.values()}
    return ScoreMatrix(tuple(task.name for task in stream), tuple(row(name) for name in names[1:]),
                       zero if any(score is not None for score in zero) else None,
                       {task.name: newest[task.name]['metric'] for task in stream if task.name in newest},
                       {task.name: newest[task.name]['count'] for task in stream if task.name in newest})
