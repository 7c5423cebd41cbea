"""Predictions and annotation files, read with the place of each record, so that every complaint names file and line.

A predictions file is JSONL. Annotations are JSONL, a JSON list, an object from id to record, or one of the official
files that wrap their list (`data`, `questions`, `annotations`; captions in COCO form are gathered by image). Bytes that
are no UTF-8 text, NUL bytes, broken JSON and records of a wrong form are errors, never skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coinkit.data.strict_json import TwiceInObject, decode
from coinkit.errors import DataError
from coinkit.metrics.base import short
from coinkit.types import Prediction

_MISSING_TEXT: Any = None  # what stands for the text of an answer that is not there
_GOLD_KEYS = ('references', 'answers', 'answer')
_NOT_CONTEXT = frozenset({'id', 'question_id', 'context', 'conversations', *_GOLD_KEYS})
_LISTS = ('data', 'questions', 'annotations')

Placed = tuple[str, Prediction]  # 'FILE: line 3', the record


def predictions(path: Path) -> list[Placed]:
    """The lines of a predictions file."""
    return [(where, _prediction(record, where)) for where, record in _lines(_read(path), path)]


def annotations(path: Path) -> list[Placed]:
    """Gold answers as prediction rows without text.

    A record has `id` (or `question_id`), its gold in `references`, `answers` or `answer`, and its context under
    `context` or beside them; its `text` or `question` is the context's `prompt`.
    """
    return [(where, _annotation(record, where)) for where, record in _annotation_records(path)]


# --- records ----------------------------------------------------------------------------------------------------


def _prediction(record: Any, where: str) -> Prediction:
    if not isinstance(record, Mapping) or 'id' not in record or 'prediction' not in record:
        raise DataError(f'{where}: not a prediction. Needed: an object with "id" and "prediction".')
    if not isinstance(record['prediction'], str | None):
        raise DataError(f'{where}: prediction is {short(record["prediction"])}; it must be a text.')
    route = record.get('route')
    if not isinstance(route, str | None):
        raise DataError(f'{where}: route is {short(route)}; it must be a text.')
    return Prediction(_id(record['id'], where), record['prediction'], _texts(record.get('references'), where),
                      _context(record, where), route)


def _annotation(record: Any, where: str) -> Prediction:
    if not isinstance(record, Mapping) or not {'id', 'question_id'} & record.keys():
        raise DataError(f'{where}: not an annotation. Needed: an object with "id" (or "question_id").')
    context = {key: value for key, value in record.items() if key not in _NOT_CONTEXT}
    if 'isBalanced' in context:
        context['is_balanced'] = context.pop('isBalanced')
    prompt = record.get('text', record.get('question'))
    context |= {'prompt': prompt} if isinstance(prompt, str) and 'prompt' not in context else {}
    gold = next((record[key] for key in _GOLD_KEYS if record.get(key) not in (None, [])), None)
    if type(gold) is int and isinstance(record.get('choices'), list):  # ScienceQA's problems.json: index of the choice
        context['gold_index'], gold = gold, None
    name = record['question_id'] if 'question_id' in record else record['id']
    return Prediction(_id(name, where), _MISSING_TEXT, _texts(_gold(gold), where), {**context, **_context(record, where)})


def _id(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f'{where}: the id is {short(value)}; it must be a text or a whole number.')
    return str(value)


def _context(record: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    context = record.get('context')
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise DataError(f'{where}: context is {short(context)}; it must be an object.')
    return context


def _texts(value: Any, where: str) -> tuple[str, ...]:
    """References: one text or a list of texts."""
    values = () if value is None else value if isinstance(value, list) else [value]
    return tuple(_text(each, where) for each in values)


def _gold(value: Any) -> Any:
    """A gold answer as text: numbers as they are written, of VQA's annotators (one object each) what they answered."""
    if isinstance(value, list):
        return [_gold(each) for each in value]
    if isinstance(value, Mapping) and isinstance(value.get('answer'), str):
        return value['answer']
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f'{where}: references are {short(value)}; each must be a text.')
    return value


# --- files ------------------------------------------------------------------------------------------------------


def _annotation_records(path: Path) -> Iterator[tuple[str, Any]]:
    text = _read(path)
    try:
        blob = _parse(text)
    except TwiceInObject as error:
        raise DataError(f'{path}: {error}.') from None
    except ValueError:
        yield from _lines(text, path)
        return
    if isinstance(blob, Mapping) and {'id', 'question_id'} & blob.keys():
        blob = [blob]  # a JSONL file of one line
    wrapped = isinstance(blob, Mapping) and next((key for key in _LISTS if isinstance(blob.get(key), list)), None)
    if wrapped:
        blob = _captions(blob[wrapped]) if _are_captions(blob[wrapped]) else blob[wrapped]
    if isinstance(blob, Mapping):
        yield from ((f'{path}: {key}', {'id': key, **record} if isinstance(record, Mapping) else record)
                    for key, record in blob.items())
    elif isinstance(blob, list):
        yield from ((f'{path}: record {index}', record) for index, record in enumerate(blob, start=1))
    else:
        raise DataError(f'{path}: not annotations. Needed: JSONL, a JSON list of records, or an object of records.')


def _are_captions(records: list[Any]) -> bool:
    return bool(records) and all(isinstance(each, Mapping) and {'image_id', 'caption'} <= each.keys() for each in records)


def _captions(records: list[Any]) -> list[Mapping[str, Any]]:
    """COCO's form: one record per caption; what belongs together has the same image."""
    gathered: dict[Any, list[Any]] = {}
    for each in records:
        gathered.setdefault(str(each['image_id']), []).append(each['caption'])
    return [{'id': key, 'references': captions} for key, captions in gathered.items()]


def _lines(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split('\n'), start=1):
        if not line.strip():
            continue
        where = f'{path}: line {number}'
        try:
            yield where, _parse(line)
        except json.JSONDecodeError as error:
            raise DataError(f'{where}: not JSON ({error.msg} at column {error.colno}).') from None
        except ValueError as error:
            raise DataError(f'{where}: not JSON that can be read ({error}).') from None


def _parse(text: str) -> Any:
    try:
        return decode(text)
    except RecursionError:
        raise ValueError('too many brackets inside each other') from None


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}).') from None
    nul = raw.find(b'\0')
    if nul >= 0:
        raise DataError(f'{path}: line {_line_of(raw, nul)}: a NUL byte (byte {nul}). The file is damaged, as after a '
                        'crash while it was written, or it is not UTF-8 text.')
    try:
        return raw.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        at = error.start
        raise DataError(f'{path}: line {_line_of(raw, at)}: not UTF-8 text (byte {at} is 0x{raw[at]:02x}). Save the file '
                        'as UTF-8.') from None


def _line_of(raw: bytes, position: int) -> int:
    return raw.count(b'\n', 0, position) + 1
