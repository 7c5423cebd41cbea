"""One row of an instruction file: what it must have, what it becomes, and the survey of all rows.

Training rows have `conversations`, test rows `text` and `answer`, `answers` or `answer_bbox`. Whatever else a row has
travels to the scorer as context. Qwen-VL's rows name their pictures inside the text, as `<img>path</img>`. Tags stay in
the text where they say more than 'one picture, in front'.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from coinkit.data.images import FileImage, without_tags
from coinkit.data.index import Record, Records, Survey
from coinkit.datasets.shown import shown
from coinkit.errors import BadImage
from coinkit.types import BAD_IMAGE, Turn

ROLES = {'human': 'human', 'user': 'human', 'gpt': 'gpt', 'assistant': 'gpt'}
BOXES = ('answer_bbox', 'origin_answer_bbox')
BALANCED = 'is_balanced'  # GQA's: whether the question counts
IMAGE_TOKEN = '<image>'
_INLINE = re.compile(r'(?:Picture \d+: *)?<img>([^<>\n]*)</img>')  # linear: no bracket inside
_READ = frozenset({'id', 'question_id', 'image', 'conversations', 'text', 'answer', 'answers',
                   BAD_IMAGE})  # which is the evaluation's word to the scorer
MAX_PROBLEMS = 20  # listed; the others are counted


class Row(NamedTuple):
    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    answers: tuple[str, ...]  # gold answers of a test row, the last gpt turn of a training row
    meta: Mapping[str, Any]


class WrongRow(ValueError):
    """The row cannot be used; says why and what is wanted."""


class Unanswered(WrongRow):
    """The row has no gold answer; it can be used where annotations bring it."""


def row_id(record: Mapping[str, Any]) -> str:
    """`question_id` or `id` as text; empty when there is none that can be used."""
    given = record[key] if (key := _id_key(record)) else ''
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) and str(given).strip() else ''


def _id_key(record: Mapping[str, Any]) -> str:
    return next((key for key in ('question_id', 'id') if record.get(key) is not None), '')


def parse_row(record: Mapping[str, Any], *, gold: bool = True) -> Row:
    """A record's parts; raises WrongRow. Without `gold` a test row may lack its answer."""
    name = row_id(record)
    if not name:
        raise WrongRow(f"'{key}' is {shown(record[key])}; a text that is not blank, or a whole number, is wanted."
                       if (key := _id_key(record)) else "has no 'id' or 'question_id'; every record needs one.")
    _check_boxes(record)
    if not isinstance(record.get(BALANCED, True), bool):  # of the text 'false' a scorer would make true
        raise WrongRow(f"'{BALANCED}' is {shown(record[BALANCED])}; true or false is wanted.")
    turns = _conversation(record['conversations']) if 'conversations' in record else _question(record)
    turns, images = _take_out_images(turns, _images(record.get('image')))
    answers = (turns[-1].text,) if turns[-1].role == 'gpt' else _answers(record, gold)
    if answers and not any(answer.strip() for answer in answers):  # an annotator may say nothing, not all of them
        if gold or turns[-1].role == 'gpt':
            raise Unanswered('has an empty answer.')
        answers = ()
    _check_image_tokens(turns, images)
    if len(images) == 1 and turns[0].text.lstrip().startswith(IMAGE_TOKEN):
        turns = (Turn(turns[0].role, without_tags(turns[0].text)), *turns[1:])  # where every model looks for it
    return Row(name, images, turns, answers, _meta(record))


def _images(given: Any) -> tuple[str, ...]:
    images = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(images, list | tuple) or not all(isinstance(path, str) and path for path in images):
        raise WrongRow(f"'image' is {shown(given)}; a path or a list of paths is wanted.")
    return tuple(images)


def _take_out_images(turns: tuple[Turn, ...], images: tuple[str, ...]) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """Pictures named inside the text, and the text without them."""
    inline = tuple(path.strip() for turn in turns for path in _INLINE.findall(turn.text))
    if not inline:
        return turns, images
    if images not in ((), inline):
        raise WrongRow(f"names {shown(list(inline))} in its text and {shown(list(images))} in 'image'; one of the two is "
                       'wanted.')
    return tuple(Turn(turn.role, _INLINE.sub(IMAGE_TOKEN, turn.text)) for turn in turns), inline


def _conversation(given: Any) -> tuple[Turn, ...]:
    """Turns that take turns: human first, gpt last."""
    if not isinstance(given, list) or not given:
        raise WrongRow("'conversations' must be a list of {'from', 'value'} with at least one pair.")
    turns = []
    for turn in given:
        said_by = turn.get('from') if isinstance(turn, dict) else None
        role = ROLES.get(said_by) if isinstance(said_by, str) else None
        if role is None or not isinstance(turn.get('value'), str):
            raise WrongRow(f"'conversations' holds {shown(turn)}; {{'from': 'human' or 'gpt', 'value': text}} is wanted.")
        if role != ('human', 'gpt')[len(turns) % 2]:
            raise WrongRow(f"'conversations' has '{turn['from']}' at place {len(turns)}; human and gpt take turns, "
                           'human first.')
        turns.append(Turn(role, turn['value']))
    if turns[-1].role != 'gpt':
        raise WrongRow('has no answer: its last turn is not from gpt.')
    return tuple(turns)


def _question(record: Mapping[str, Any]) -> tuple[Turn, ...]:
    if not isinstance(record.get('text'), str):
        raise WrongRow("has neither 'conversations' (a training row) nor 'text' (a test row).")
    return (Turn('human', record['text']),)


def _answers(record: Mapping[str, Any], gold: bool) -> tuple[str, ...]:
    """`answers`, `answer` or `answer_bbox`, whichever comes first; numbers as text, a box as `[x1,y1,x2,y2]`."""
    for key in ('answers', 'answer', 'answer_bbox'):
        given = record.get(key)
        if given is None or given == []:
            continue
        many = given if isinstance(given, list) and key != 'answer_bbox' else [given]
        return tuple(_text(key, item) for item in many)
    if gold:
        raise Unanswered("has no answer: 'answer', 'answers' or 'answer_bbox' is wanted.")
    return ()


def _text(key: str, item: Any) -> str:
    if isinstance(item, dict) and isinstance(item.get('answer'), str):  # VQA annotations: one object per annotator
        return item['answer']
    if isinstance(item, list) and key == 'answer_bbox':
        return '[' + ','.join(map(str, item)) + ']'
    number = isinstance(item, int) and not isinstance(item, bool) or isinstance(item, float) and math.isfinite(item)
    if isinstance(item, str) or number:
        return str(item)
    raise WrongRow(f"'{key}' holds {shown(item)}; text is wanted.")


def _check_boxes(record: Mapping[str, Any]) -> None:
    """A gold box that no scorer can read would be told after the training only."""
    for key in BOXES:
        given = record.get(key)
        parts = re.sub(r'[][]', '', given).split(',') if isinstance(given, str) else given
        try:
            fine = given is None or given == [] or len(parts) == 4 and all(
                math.isfinite(float(part)) and not isinstance(part, bool) for part in parts)
        except (TypeError, ValueError, OverflowError):
            fine = False
        if not fine:
            raise WrongRow(f"'{key}' is {shown(given)}; four numbers are wanted, as in '[0.1,0.2,0.5,0.9]'.")


def _check_image_tokens(turns: Iterable[Turn], images: tuple[str, ...]) -> None:
    tokens = sum(turn.text.count(IMAGE_TOKEN) for turn in turns)
    if tokens and tokens != len(images):
        raise WrongRow(f"has {tokens} {IMAGE_TOKEN} in its text and {len(images)} in 'image'; equal numbers wanted.")


def _meta(record: Mapping[str, Any]) -> dict[str, Any]:
    """The scorer's context: the row's other fields, and for options how many there are and which is right."""
    meta = {key: value for key, value in record.items() if key not in _READ}
    choices, answer = record.get('choices'), record.get('answer')
    if isinstance(choices, list):
        meta.setdefault('num_choices', len(choices))
        if isinstance(answer, str) and len(answer) == 1 and 0 <= ord(answer) - ord('A') < len(choices):
            meta.setdefault('gold_index', ord(answer) - ord('A'))
    return meta


def question_of(row: Row) -> str:
    """The last thing that is asked."""
    return next(turn.text for turn in reversed(row.turns) if turn.role == 'human')


def scored_context(row: Row, prompt: str, joined: Mapping[str, Any]) -> dict[str, Any]:
    """What the scorer of a test row is told beside the answer; `joined` comes from annotations."""
    pictures = {'image': row.images[0] if len(row.images) == 1 else list(row.images)} if row.images else {}
    return {**pictures, 'prompt': prompt, **row.meta, **joined}


class _Ids:
    """Finds ids that occur twice in eight bytes per record; equal hashes are suspects for the caller to compare."""

    def __init__(self) -> None:
        self._hashes = array('q')

    def add(self, name: str) -> None:
        self._hashes.append(hash(name))

    def suspects(self) -> list[tuple[int, int]]:
        """Pairs (first record, later record) of equal hashes."""
        if not self._hashes:
            return []
        hashes = np.frombuffer(self._hashes, np.int64)
        order = np.argsort(hashes, kind='stable')
        again = hashes[order[1:]] == hashes[order[:-1]]
        starts = np.maximum.accumulate(np.where(np.concatenate([[True], ~again]), np.arange(len(order)), 0))
        return [(int(order[starts[i + 1]]), int(order[i + 1])) for i in np.flatnonzero(again)]


def survey_rows(records: Records) -> dict[str, Any]:
    """Split, image paths with the first record that uses each, and the first problems with their number; `kinds` says how
    many rows are training rows alone and how many test rows alone, with the first of each.

    Rows without a gold answer are kept apart from the other problems: annotations may bring it.
    """
    problems: list[tuple[int, str, str]] = []
    unanswered: list[tuple[int, str, str]] = []
    images: dict[str, int] = {}
    kinds: dict[str, dict[str, Any]] = {}
    ids, split = _Ids(), 'test'
    for i, record in enumerate(records):
        split = 'train' if i == 0 and 'conversations' in record else split
        if kind := _kind(record):
            kinds.setdefault(kind, {'count': 0, 'first': i, 'id': row_id(record)})['count'] += 1
        ids.add(row_id(record) or f'\0{i}')  # a row without an id is a problem of its own
        problem, missing_gold = _problem(record, images, i)
        if problem:
            (unanswered if missing_gold else problems).append((i, row_id(record), problem))
    for first, later in ids.suspects():
        name = row_id(records[later])
        if name and name == row_id(records[first]):
            problems.append((later, name, f'has the id of record {first}; ids must differ.'))
    problems.sort()
    return {'split': split, 'images': images, 'first_image': next(iter(images), None), 'problems': _listed(problems),
            'unanswered': _listed(unanswered), 'kinds': kinds}


def _kind(record: Record) -> str:
    """The split that the row is of; nothing where it says both, or neither (which is a problem of its own)."""
    trains, tests = 'conversations' in record, 'text' in record
    return '' if trains == tests else 'train' if trains else 'test'


def _listed(problems: list[tuple[int, str, str]]) -> dict[str, Any]:
    return {'count': len(problems), 'first': problems[:MAX_PROBLEMS]}


def _problem(record: Record, images: dict[str, int], index: int) -> tuple[str, bool]:
    """What is wrong with the record, or nothing, and whether it is only that gold is missing; notes its images."""
    try:
        try:
            row, problem = parse_row(record), ''
        except Unanswered as error:
            row, problem = parse_row(record, gold=False), str(error)
        for path in row.images:
            if path not in images:
                FileImage(path)  # refuses a path that leads out of the image root
                images[path] = index
    except (WrongRow, BadImage) as error:
        return str(error), False
    return problem, bool(problem)


SURVEY = Survey('instruction-rows/6', survey_rows)
