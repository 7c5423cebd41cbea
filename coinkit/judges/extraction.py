"""Short answers that a judge model reads out of long ones, for scorers that want it: MathVista's second pass.

A scorer says by `needs_extraction(row)` which answers it could not read; what the judge extracts goes into the row's context
as `extraction`, and the scorer scores the rows again. The predictions stay as they are: the rows with extractions are files
of their own, and so is the matrix with the new scores. The examples in the prompt are ours, one for each kind of answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coinkit import atomic
from coinkit.errors import ConfigError, Problem
from coinkit.judges.base import Judge, Question
from coinkit.judges.cache import AnswerCache
from coinkit.judges.cells import CellPlace, RunCells
from coinkit.judges.judging import Wanted
from coinkit.judges.prompts import question_text, without_placeholders
from coinkit.judges.results import FOLDER
from coinkit.registry import METRICS
from coinkit.types import Prediction, Score, ScoreMatrix

SCHEMA = 'coinkit.extraction/1'
RECORD, MATRIX = 'extraction.json', 'matrix.extracted.json'
_RULE = ('Read the final answer out of the response to the question and write it alone, in the form that the question asks '
         "for: the letter of an option, a whole number, a number, or a list in square brackets. If the response holds no "
         "answer, write: no answer.")
_EXAMPLES = (
    ('Which year has the highest bar?\nChoices:\n(A) 2019\n(B) 2020\n(C) 2021',
     'The bar of 2020 reaches 57 and no other comes near it, so the year is 2020.', 'B'),
    ('How many triangles are there in the figure? Give a whole number.',
     'Four of them lie on the left and five on the right, which makes nine.', '9'),
    ('How long is the side AB? Give a number with one decimal.',
     'By the theorem of Pythagoras it is the square root of 13, which is about 3.606 cm.', '3.6'),
    ('Which part of the pupils walks to school? Give a number with two decimals.',
     'A quarter of all pupils walks.', '0.25'),
    ('Between which years did the price fall? Give a list.',
     'It began to fall in 1998 and did so until 2004.', '[1998, 2004]'))


@dataclass(frozen=True)
class ExtractedCell:
    """One cell scored with extractions: None while some are missing. `before` is the score without them."""

    place: CellPlace
    before: float | None
    score: Score | None
    wanted: int
    unanswered: int
    rows: Sequence[Prediction]


def extraction_prompt(question: str, answer: str) -> str:
    """The user message."""
    blocks = [_block(*example) for example in _EXAMPLES]
    return '\n\n'.join([_RULE, *blocks, _block(without_placeholders(question), without_placeholders(answer), '').rstrip()])


def _block(question: str, answer: str, short: str) -> str:
    return f'[Question]\n{question}\n[Response]\n{answer}\n[Final answer]\n{short}'


def extractable(wanted: Wanted) -> Wanted:
    """Those of the cells whose scorer wants extractions; none at all is an error."""
    chosen = [(run, place) for run, place in wanted if hasattr(METRICS.get(place.task.metric['type']), 'needs_extraction')]
    if not chosen:
        raise ConfigError(Problem('--extract', 'no task has a scorer that wants answers to be extracted.',
                                  'mathvista_check does. Leave --extract out to have answers rated.'))
    return chosen


def questions(wanted: Wanted, judge: Judge) -> Iterator[tuple[CellPlace, Question]]:
    """What has to be asked, also what was asked before."""
    for run, place in wanted:
        for question in _asked(run, place, run.rows(place), judge):
            if question is not None:
                yield place, question


def _asked(run: RunCells, place: CellPlace, rows: Sequence[Prediction], judge: Judge) -> Iterator[Question | None]:
    """The question about each row; None for a row whose answer the scorer can read."""
    scorer, samples = METRICS.build(dict(place.task.metric)), run.samples(place.column)
    for row in rows:
        wanted = scorer.needs_extraction(row)
        yield judge.question(extraction_prompt(question_text(samples[row.id].turns), row.prediction)) if wanted else None


def extracted_cell(run: RunCells, place: CellPlace, judge: Judge, cache: AnswerCache) -> ExtractedCell:
    """The cell as it is scored with what the judge has extracted so far."""
    rows = run.rows(place)
    asked = list(_asked(run, place, rows, judge))
    answers = [None if question is None else cache.get(question.key) for question in asked]
    full = [row if answer is None else replace(row, context={**row.context, 'extraction': answer.text.strip()})
            for row, answer in zip(rows, answers, strict=True)]
    wanted = sum(question is not None for question in asked)
    unanswered = wanted - sum(answer is not None for answer in answers)
    scorer = METRICS.build(dict(place.task.metric))
    after = None if unanswered else scorer.score(full)
    return ExtractedCell(place, scorer.score(rows).value, after, wanted, unanswered, full)


def write_extracted(run: RunCells, judge: Judge, cells: Iterable[ExtractedCell]) -> list[ExtractedCell]:
    """The rows, extraction.json, and the run's matrix with the new scores; the cells come back without their rows."""
    kept, records = [], []
    for cell in cells:
        lines = ''.join(json.dumps(row.to_json()) + '\n' for row in cell.rows if row.prediction is not None)
        atomic.write_text(run.folder / FOLDER / cell.place.stage / f'{cell.place.task.slug}.extracted.jsonl', lines)
        kept.append(replace(cell, rows=()))
        records.append(_record(cell))
    atomic.write_json(run.folder / RECORD, {'schema': SCHEMA, 'judge': judge.identity, 'cells': records})
    matrix = run.folder / 'matrix.json'
    if matrix.is_file():
        found = ScoreMatrix.from_json(json.loads(matrix.read_text(encoding='utf-8')))
        atomic.write_json(run.folder / MATRIX, with_scores(found, kept).to_json())
    return kept


def _record(cell: ExtractedCell) -> dict[str, Any]:
    place, score = cell.place, cell.score
    record = {'stage': place.stage, 'row': place.row, 'task': place.task.name, 'before': cell.before,
              'score': None if score is None else score.value, 'wanted': cell.wanted, 'unanswered': cell.unanswered}
    return record if score is None else {**record, 'counts': dict(score.counts), 'details': dict(score.details)}


def with_scores(matrix: ScoreMatrix, cells: Iterable[ExtractedCell]) -> ScoreMatrix:
    """The matrix with the cells' scores in place of its own."""
    rows, zero = [list(row) for row in matrix.scores], None if matrix.zero_shot is None else list(matrix.zero_shot)
    for cell in cells:
        row = zero if cell.place.row == 0 else rows[cell.place.row - 1] if cell.place.row <= len(rows) else None
        if row is not None:
            row[cell.place.column] = None if cell.score is None else cell.score.value
    return replace(matrix, scores=tuple(map(tuple, rows)), zero_shot=None if zero is None else tuple(zero))
