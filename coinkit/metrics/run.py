"""From files to a score: read predictions and annotations, match them by id, and score.

With annotations the denominator is theirs: an id without a prediction becomes a row whose text is None, which every
scorer counts as wrong. Without annotations, the predictions' own references are used and every row counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from coinkit.errors import DataError
from coinkit.metrics.base import refuse_duplicates
from coinkit.types import Metric, Prediction, Score

_MISSING_TEXT: Any = None  # what stands for the text of an answer that is not there
_CONTEXT_NAMES = {'choices': 'choices', 'num_choices': 'num_choices', 'gold_index': 'gold_index', 'size': 'size',
                  'answer_bbox': 'answer_bbox', 'origin_answer_bbox': 'origin_answer_bbox',
                  'is_balanced': 'is_balanced', 'isBalanced': 'is_balanced'}


def read_predictions(path: Path) -> list[Prediction]:
    """The lines of a predictions file; the error names file and line."""
    return [_prediction(record, where) for where, record in _lines(path)]


def read_annotations(path: Path) -> list[Prediction]:
    """Gold answers as prediction rows without text.

    The file is JSONL, a JSON list, or a JSON object from id to record. A record has `id` (or `question_id`), its gold
    in `references`, `answers` or `answer`, and optionally `context`; CoIN's own keys (choices, answer_bbox, size,
    isBalanced...) are taken into the context.
    """
    return [_annotation(record, where) for where, record in _annotation_records(path)]


def align(predictions: Sequence[Prediction], annotations: Sequence[Prediction], *,
          by_position: bool = False) -> list[Prediction]:
    """One row per annotation, in its order, with the prediction's text, or None where there is no prediction."""
    refuse_duplicates(annotations)
    if by_position:
        return _align_rows(predictions, annotations)
    refuse_duplicates(predictions)
    answered = {item.id: item for item in predictions}
    strangers = sorted(answered.keys() - {gold.id for gold in annotations})
    if strangers:
        raise DataError(f'{len(strangers)} predictions have no annotation: {", ".join(map(repr, strangers[:5]))}. '
                        'Ids are compared as strings; check that both files are of the same split.')
    return [_merge(gold, answered.get(gold.id)) for gold in annotations]


def score_files(metric: Metric, predictions: Path, annotations: Path | None = None) -> tuple[Score, list[str]]:
    """Score a predictions file; also the ids in the order of `per_sample`."""
    rows = read_predictions(predictions)
    if annotations is not None:
        rows = align(rows, read_annotations(annotations), by_position=getattr(metric, 'by_position', False))
    if not rows:
        raise DataError(f'{predictions}: no predictions in this file.')
    return metric.score(rows), [row.id for row in rows]


def _merge(gold: Prediction, answer: Prediction | None) -> Prediction:
    if answer is None:
        return gold
    return replace(gold, prediction=answer.prediction, references=gold.references or answer.references,
                   context={**answer.context, **gold.context}, route=answer.route)


def _align_rows(predictions: Sequence[Prediction], annotations: Sequence[Prediction]) -> list[Prediction]:
    if len(predictions) > len(annotations):
        raise DataError(f'{len(predictions)} predictions but only {len(annotations)} annotations; rows cannot be '
                        'paired by position.')
    padded = [*predictions, *[None] * (len(annotations) - len(predictions))]
    return [_merge(gold, answer) for gold, answer in zip(annotations, padded, strict=True)]


def _prediction(record: Any, where: str) -> Prediction:
    if not isinstance(record, Mapping) or 'id' not in record or 'prediction' not in record:
        raise DataError(f'{where}: not a prediction. Needed: an object with "id" and "prediction".')
    if not isinstance(record['prediction'], str | None):
        raise DataError(f'{where}: prediction is {record["prediction"]!r}; it must be a text.')
    return Prediction.from_json({**record, 'references': _texts(record.get('references', ()), where)})


def _texts(value: Any, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(text, str) for text in values):
        raise DataError(f'{where}: references are {value!r}; each must be a text.')
    return tuple(values)


def _annotation(record: Any, where: str) -> Prediction:
    if not isinstance(record, Mapping) or not {'id', 'question_id'} & record.keys():
        raise DataError(f'{where}: not an annotation. Needed: an object with "id" (or "question_id").')
    context = {ours: record[key] for key, ours in _CONTEXT_NAMES.items() if key in record}
    gold = next((record[key] for key in ('references', 'answers', 'answer') if key in record), ())
    if isinstance(gold, int):  # ScienceQA's problems.json: the index of the right choice
        context['gold_index'], gold = gold, ()
    return Prediction(str(record.get('question_id', record.get('id'))), _MISSING_TEXT, _texts(gold, where),
                      {**context, **record.get('context', {})})


def _annotation_records(path: Path) -> Iterator[tuple[str, Any]]:
    text = _read(path)
    try:
        blob = json.loads(text)
    except json.JSONDecodeError:
        yield from _lines(path)
        return
    if isinstance(blob, Mapping) and {'id', 'question_id'} & blob.keys():
        blob = [blob]  # a JSONL file of one line
    if isinstance(blob, Mapping):
        yield from ((f'{path}: {key}', {'id': key, **record} if isinstance(record, Mapping) else record)
                    for key, record in blob.items())
    elif isinstance(blob, list):
        yield from ((f'{path}: record {index}', record) for index, record in enumerate(blob, start=1))
    else:
        raise DataError(f'{path}: not annotations. Needed: JSONL, a JSON list of records, or an object of records.')


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_read(path).split('\n'), start=1):
        if not line.strip():
            continue
        where = f'{path}: line {number}'
        try:
            yield where, json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f'{where}: not JSON ({error.msg} at column {error.colno}).') from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from None
    except UnicodeDecodeError as error:
        raise DataError(f'{path}: not UTF-8 text (byte {error.start}).') from None
