"""Judging the cells of runs: what has to be asked and what it costs, asking it, and what came of it.

Results are a function of predictions, judge and cached answers: every call makes them anew, so a judge can be changed or an
interrupted call repeated without mixing anything. A cell whose answers are not all there has no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from coinkit.judges import failures, parse
from coinkit.judges.base import Answer, Judge, Question, Unanswered
from coinkit.judges.cache import AnswerCache
from coinkit.judges.cells import CellPlace, RunCells
from coinkit.judges.lenient import lenient_values
from coinkit.registry import METRICS
from coinkit.types import Prediction, Score

Wanted = Sequence[tuple[RunCells, CellPlace]]
Asking = Callable[[Wanted, Judge], Iterator[tuple[CellPlace, Question]]]  # which questions the cells are asked


@dataclass
class Share:
    """What has to be asked for some cells. Token counts are estimates."""

    cells: int = 0
    questions: int = 0  # answers of the model to be judged
    known: int = 0  # of these: answered before, or equal to another question
    to_ask: int = 0
    tokens_in: int = 0
    tokens_out: int = 0  # at most


@dataclass
class Estimate:
    """The work before it starts, by task and in all."""

    tasks: dict[str, Share] = field(default_factory=dict)
    cost: float | None = None  # USD
    seconds: float = 0.0  # that the rate limits alone take
    example: str = ''  # the first prompt

    @property
    def total(self) -> Share:
        parts = self.tasks.values()
        return Share(*(sum(getattr(part, key) for part in parts) for key in Share.__dataclass_fields__))


@dataclass(frozen=True)
class JudgedCell:
    """One cell: the judge's score (None while answers are missing), counts, the split of failures, and every item."""

    place: CellPlace
    score: float | None
    counts: dict[str, int]
    truth: Score
    split: failures.Split | None  # None for a scorer without a value per item
    items: list[dict[str, Any]]


def questions(wanted: Wanted, judge: Judge) -> Iterator[tuple[CellPlace, Question]]:
    """Every question of the cells, also those that were asked before."""
    for run, place in wanted:
        rows = run.rows(place)
        for content in run.prompts(place, rows):
            if content is not None:
                yield place, judge.question(content)


def estimate(wanted: Wanted, judge: Judge, cache: AnswerCache, asking: Asking = questions) -> Estimate:
    """What asking would take; reads all predictions and questions, so a mistake in them is found before anything is paid."""
    found, seen = Estimate(), set()
    for _, place in wanted:
        found.tasks.setdefault(place.task.name, Share()).cells += 1
    for place, question in asking(wanted, judge):
        share = found.tasks[place.task.name]
        found.example = found.example or question.content
        share.questions += 1
        if question.key in cache or question.key in seen:
            share.known += 1
            continue
        seen.add(question.key)
        share.to_ask += 1
        share.tokens_in += question.tokens
        share.tokens_out += judge.max_new_tokens
    total = found.total
    found.cost = judge.cost(total.tokens_in, total.tokens_out)
    found.seconds = judge.least_seconds(total.to_ask, total.tokens_in + total.tokens_out)
    return found


def ask(wanted: Wanted, judge: Judge, cache: AnswerCache, answered: Callable[[Answer], None],
        asking: Asking = questions) -> list[Unanswered]:
    """Ask what is not in the cache, each question once; `answered` is told of every new answer."""
    def keep(question: Question, answer: Answer) -> None:
        cache.put(question.key, answer, judge=type(judge).__name__)
        answered(answer)

    return judge.ask(_new(asking(wanted, judge), cache), keep)


def _new(asked: Iterable[tuple[CellPlace, Question]], cache: AnswerCache) -> Iterable[Question]:
    seen: set[str] = set()
    for _, question in asked:
        if question.key not in seen and question.key not in cache:
            seen.add(question.key)
            yield question


def judged_cell(run: RunCells, place: CellPlace, judge: Judge, cache: AnswerCache) -> JudgedCell:
    """What the judge said of a cell."""
    rows = run.rows(place)
    answers = [None if content is None else cache.get(judge.question(content).key)
               for content in run.prompts(place, rows)]
    readings = [None if answer is None else parse.read(answer.text, judge.parse) for answer in answers]
    missing, skipped = sum(row.prediction is None for row in rows), sum(row.skipped for row in rows)
    items = len(rows) - missing if judge.parse == 'upstream' else len(rows)  # published: rows of the result file
    counts = {'items': items, 'missing': missing, 'unparsed': sum(each is not None and not each.parsed for each in readings),
              'unjudged': readings.count(None) - missing - skipped, **({'skipped': skipped} if skipped else {})}
    score = None if counts['unjudged'] else parse.final_score(parse.add_up(readings, judge.parse), items, judge.parse)
    kinds = [failures.kind_by_judge(each, judge.threshold) for each in readings]
    truth, found = _split(place, rows, kinds)
    values = truth.per_sample or [None] * len(rows)
    lines = [{'id': row.id, 'answer': answer and answer.text, 'score': reading.value if reading and reading.parsed else None,
              'truth': value, 'failure': kind if value is not None and value < 1 else None}
             for row, answer, reading, value, kind in zip(rows, answers, readings, values, kinds, strict=True)]
    return JudgedCell(place, score, counts, truth, found, lines)


def lenient_cell(run: RunCells, place: CellPlace) -> JudgedCell:
    """The same without a judge: only the failures are split."""
    rows = run.rows(place)
    kinds = [failures.kind_by_lenience(right) for right in lenient_values(place.task.metric, rows)]
    truth, found = _split(place, rows, kinds)
    return JudgedCell(place, None, {}, truth, found, [])


def _split(place: CellPlace, rows: Sequence[Prediction],
           kinds: Sequence[str]) -> tuple[Score, failures.Split | None]:
    truth = METRICS.build(dict(place.task.metric)).score(rows)
    if truth.per_sample is None:
        return truth, None
    counted = [value is not None for value in truth.per_sample]
    items = truth.counts.get('items', sum(counted))
    if items < sum(counted):  # a scorer that divides by the answered rows
        counted = [each and row.prediction is not None for each, row in zip(counted, rows, strict=True)]
    values = [value if each else None for value, each in zip(truth.per_sample, counted, strict=True)]
    return truth, failures.split(values, kinds, items)
