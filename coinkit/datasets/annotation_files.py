"""The official annotation files of the benchmarks, each read as a table from question id to its gold.

Gold that is damaged is an error that names file, record and key: a key or an id that is there twice, an answer that is no
text, a flag that is neither true nor false, the index of an option that does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from coinkit.data.mathvista import option_letter
from coinkit.data.strict_json import decode
from coinkit.datasets.convert.reading import Record
from coinkit.datasets.convert.scienceqa import LETTERS, gold_option, ids_of
from coinkit.datasets.shown import shown
from coinkit.errors import DataError

TOP = 'at its top'
SHOWN = 3  # ids named in a message
_HALF_PAIR = re.compile(rb'\\u[dD][89a-fA-F]')  # a character beyond U+FFFF is written as two of these


@dataclass(frozen=True)
class Gold:
    """What an annotation says of one question."""

    references: tuple[str, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    image: str = ''  # name of the picture, where the annotation has it
    counts: bool = True  # must have a row


class Given(NamedTuple):
    """Where the annotations are read from. `splits`: ScienceQA's pid_splits.json."""

    file: Path
    splits: Path | None = None
    split: str = 'test'


def read_json(path: Path) -> Any:
    """All of a file; a key that is there twice is an error."""
    try:
        raw = path.read_bytes()
        blob = decode(raw.decode('utf-8-sig'))
        if _HALF_PAIR.search(raw):
            json.dumps(blob, ensure_ascii=False).encode()  # raises where a half has lost the other
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f'{path}: cannot be read as JSON ({error}). Download it again.') from error
    return blob


def _top(blob: Any, given: Given) -> Record:
    return Record(blob, given.file, TOP)


def _listed(blob: Any, given: Given, key: str) -> Iterable[Record]:
    return (Record(each, given.file, f'{number} of {key}') for number, each in enumerate(_top(blob, given).listed(key)))


def _by_key(blob: Any, given: Given) -> Iterable[tuple[str, Record]]:
    return ((name, Record(each, given.file, f"'{name}'")) for name, each in _top(blob, given).value.items())


def _scienceqa(blob: Any, given: Given) -> dict[str, Gold]:
    """problems.json with pid_splits.json: all ids of the split, with and without a picture."""
    splits: Path = given.splits  # type: ignore[assignment]  # Annotations.wrong refuses this kind without it
    problems, found = _top(blob, given).value, {}
    for name in ids_of(read_json(splits), splits, given.split):
        if name not in problems:
            raise DataError(f"{splits}: the {given.split} split has the problem '{name}', which is not in {given.file}; "
                            'both files must be of one release.')
        choices, index = gold_option(Record(problems[name], given.file, f"'{name}'"))
        found[name] = Gold((LETTERS[index],), {'num_choices': len(choices), 'gold_index': index})
    return found


def _textvqa(blob: Any, given: Given) -> dict[str, Gold]:
    """TextVQA_0.5.1_val.json: ten answers each."""
    found: dict[str, Gold] = {}
    for record in _listed(blob, given, 'data'):
        name = record.name_of('question_id')
        if name in found:
            raise record.wrong(f"its question_id '{name}' is that of an earlier record; ids must differ")
        found[name] = Gold(tuple(record.texts('answers')))
    return found


def _gqa(blob: Any, given: Given) -> dict[str, Gold]:
    """testdev_balanced_questions.json, or a file of all questions, of which the balanced ones count."""
    found = {}
    for name, record in _by_key(blob, given):
        balanced = record.flag('isBalanced', True)
        found[name] = Gold((record.text('answer'),), {'is_balanced': balanced}, counts=balanced)
    return found


def _mathvista(blob: Any, given: Given) -> dict[str, Gold]:
    """MathVista's annot_testmini.json, by problem number."""
    found = {}
    for number, record in _by_key(blob, given):
        choices = record.texts('choices') if record.value.get('choices') is not None else None
        answer = record.text('answer')
        option = option_letter(choices, answer) if choices else None
        if choices and option is None:
            raise record.wrong(f"its 'answer' {shown(answer)} is none of its choices A to Z")
        found[number] = Gold((answer,), {
            'question_type': record.text('question_type'), 'answer_type': record.text('answer_type'), 'choices': choices,
            **({'answer_option': option} if option else {})})
    return found


def _coco_captions(blob: Any, given: Given) -> dict[str, Gold]:
    """val_coco_type_3000.json: image ids are 1, 2... in the order of the test file. The ids of captions mean nothing."""
    images: dict[str, Record] = {}
    for record in _listed(blob, given, 'images'):
        if (name := record.name_of('id')) in images:
            raise record.wrong(f"its id '{name}' is that of an earlier image; ids must differ")
        images[name] = record
    captions: dict[str, list[str]] = {name: [] for name in images}
    for record in _listed(blob, given, 'annotations'):
        name, caption = record.name_of('image_id'), record.text('caption')
        if name not in captions:
            raise record.wrong(f"its image_id '{name}' is none of the file's images")
        captions[name].append(caption)
    bare = [name for name, texts in captions.items() if not any(text.strip() for text in texts)]
    if bare:
        raise DataError(f'{given.file}: {len(bare)} of {len(images)} images have no caption: {", ".join(bare[:SHOWN])}'
                        f'{", ..." if len(bare) > SHOWN else ""}; each must have one at least.')
    return {name: Gold(tuple(captions[name]), {'image_id': record.value['id']}, _file_name(record))
            for name, record in images.items()}


def _file_name(image: Record) -> str:
    return PurePosixPath(image.text('file_name')).name if image.value.get('file_name') is not None else ''


KINDS: dict[str, Callable[[Any, Given], dict[str, Gold]]] = {
    'scienceqa': _scienceqa, 'textvqa': _textvqa, 'gqa': _gqa, 'mathvista': _mathvista, 'coco_captions': _coco_captions}
