"""Official annotation files beside instruction rows: gold answers and context that the rows do not hold, joined by id.

Each kind reads one benchmark's file as a table from question id to `Gold`. Ids are compared as text. Rows and
annotations must be the same questions: a row without an annotation, and an annotated question without a row, are
errors, because the score would be divided by the wrong number; `subset=True` allows a file of fewer rows. UCIT's
captions are numbered by their place in the file, which is checked against the rows' pictures, ids or captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import ascii_uppercase
from typing import Any

from coinkit.data.doctor.needs import FileNeeded
from coinkit.data.mathvista import ID_PREFIX
from coinkit.datasets.annotation_files import KINDS, SHOWN, Given, Gold, read_json
from coinkit.datasets.instruction_rows import Row
from coinkit.datasets.origins import Origin, wrong_origin
from coinkit.datasets.places import Places, file_needed, first_file, missing_file, places
from coinkit.errors import DataError, Problem, unknown

KEYS = ('kind', 'path', 'splits', 'split', 'join', 'subset', 'optional', 'source')


@dataclass(frozen=True)
class Annotations:
    """`annotations=dict(kind=..., path=...)` of a dataset. `optional`: used where the file is there."""

    kind: str
    path: Places
    splits: Places = ()  # ScienceQA's pid_splits.json
    split: str = 'test'  # which of them
    join: str = 'checked'  # captions: 'checked' or 'position', which trusts the order of the file
    subset: bool = False
    optional: bool = False
    source: Origin = ''  # where to get the file of `path`

    @classmethod
    def wrong(cls, given: Any) -> list[Problem]:
        """What no dataset can use."""
        where = 'InstructionJson: annotations'
        if not isinstance(given, Mapping) or not {'kind', 'path'} <= given.keys():
            return [Problem(where, f'given {given!r}, allowed: dict(kind=..., path=...).')]
        problems = [unknown(where, 'key', str(key), KEYS) for key in given if key not in KEYS]
        if not isinstance(given['kind'], str) or given['kind'] not in KINDS:
            problems.append(unknown(f'{where}.kind', 'kind', str(given['kind']), KINDS))
        problems += [Problem(f'{where}.{key}', f'given {given[key]!r}, allowed: a path below data.root, or a list of them.')
                     for key in ('path', 'splits') if key in given and not _are_places(given[key])]
        if given['kind'] == 'scienceqa' and not given.get('splits'):
            problems.append(Problem(f'{where}.splits', "missing; kind='scienceqa' needs the path of pid_splits.json."))
        if not isinstance(given.get('split', ''), str):
            problems.append(Problem(f'{where}.split', f'given {given["split"]!r}, allowed: the name of a split.'))
        if given.get('join', 'checked') not in ('checked', 'position'):
            problems.append(unknown(f'{where}.join', 'join', str(given['join']), ('checked', 'position')))
        return problems + wrong_origin(f'{where}.source', given.get('source', ''))

    def missing(self, root: str) -> list[Problem]:
        """Files that are not there."""
        return [] if self.optional else [missing_file(tried, source) for tried, source in self._files(root)
                                         if first_file(tried) is None]

    def needed(self, root: str) -> list[FileNeeded]:
        """Its files, for `coinkit data`."""
        return [file_needed(tried, source, optional=self.optional) for tried, source in self._files(root)]

    def _files(self, root: str) -> list[tuple[list[Path], Origin]]:
        """Where each of its files may be, and comes from."""
        return [(places(root, self.path), self.source), *([(places(root, self.splits), '')] if self.splits else [])]

    def table(self, root: str) -> dict[str, Gold] | None:
        """Gold by question id; None when the file is optional and not there."""
        file = first_file(places(root, self.path))
        splits = first_file(places(root, self.splits)) if self.splits else None
        if file is None or self.splits and splits is None:
            return None
        blob = read_json(file)
        try:
            return KINDS[self.kind](blob, Given(file, splits, self.split))
        except DataError as error:
            raise DataError(f"{error} This is not what annotations of kind '{self.kind}' are read from; give the official "
                            'file.') from error


def _are_places(given: Any) -> bool:
    return isinstance(given, str) or isinstance(given, list | tuple) and all(isinstance(each, str) for each in given)


# --- the join ---------------------------------------------------------------------------------------------------


def join(rows: Sequence[Row], table: Mapping[str, Gold], given: Annotations, file: Path) -> tuple[list[Gold], list[Problem]]:
    """The gold of every row in the rows' order, and what does not fit."""
    where = f'{file}: annotations'
    if given.kind == 'coco_captions':
        return _join_by_position(rows, table, given, where)
    keys = [row.id.removeprefix(ID_PREFIX) if given.kind == 'mathvista' else row.id for row in rows]
    problems = []
    strangers = [row.id for row, key in zip(rows, keys, strict=True) if key not in table]
    if strangers:
        problems.append(Problem(where, f'{len(strangers)} of {len(rows)} rows have no annotation in {_named(given)}: '
                                f'{_listed(strangers)}.', f'Its ids are such as {_listed(list(table))}; ids are compared '
                                'as text. Check that both files are of the same split.'))
    asked = set(keys)
    unasked = [key for key, gold in table.items() if gold.counts and key not in asked]
    if unasked and not given.subset:
        problems.append(Problem(where, f'{len(unasked)} of {len(table)} annotated questions have no row: '
                                f'{_listed(unasked)}. The score is divided by all of them.',
                                'Complete the rows, or say annotations=dict(..., subset=True).'))
    if problems:
        return [], problems
    found = [table[key] for key in keys]
    return found, _other_answers(rows, found, given, where)


def _other_answers(rows: Sequence[Row], golds: Sequence[Gold], given: Annotations, where: str) -> list[Problem]:
    """Rows that hold another gold answer than their annotation: the ids mean something else there."""
    if given.kind not in ('mathvista', 'scienceqa'):
        return []
    wrong = [row.id for row, gold in zip(rows, golds, strict=True) if row.answers and not _agrees(row.answers[0], gold)]
    return [Problem(where, f'{len(wrong)} of {len(rows)} rows have another answer than {_named(given)}: {_listed(wrong)}.',
                    'Check that its ids number the same questions.')] if wrong else []


def _agrees(answer: str, gold: Gold) -> bool:
    option = gold.context.get('answer_option')
    if 'gold_index' in gold.context and (len(answer) != 1 or answer not in ascii_uppercase):
        return True  # the row spells its option
    return answer.strip() in (*gold.references, option)


def _join_by_position(rows: Sequence[Row], table: Mapping[str, Gold], given: Annotations,
                      where: str) -> tuple[list[Gold], list[Problem]]:
    """Image id = place of the row from 1; the row's own picture, id or caption must say the same."""
    if len(rows) != len(table) and not given.subset or len(rows) > len(table):
        return [], [Problem(where, f'{len(rows)} rows and {len(table)} images in {_named(given)}.',
                            'Both files must be of the same release.')]
    places_of = [str(number) for number in range(1, len(rows) + 1)]
    absent = [place for place in places_of if place not in table]
    if absent:
        return [], [Problem(where, f'image ids in {_named(given)} must be 1, 2... in the order of the rows; there is no '
                            f'{_listed(absent)}.')]
    golds = [table[place] for place in places_of]
    if given.join == 'position':
        return golds, []
    by_picture = all(gold.image for gold in golds) and all(row.images for row in rows)
    by_id = all(row.id in table for row in rows)
    by_answer = all(row.answers and row.answers[0] in gold.references for row, gold in zip(rows, golds, strict=True))
    if not by_picture and not by_id and not by_answer:
        return [], [Problem(where, f'{_named(given)} names no pictures, its image ids are not the question ids (such as '
                            f'{_listed([row.id for row in rows])}), and the rows hold none of its captions: nothing tells '
                            'whether both files are in one order.',
                            "If they are, say annotations=dict(..., join='position').")]
    wrong = [f'row {place} (id {row.id}, {row.images[0] if row.images else "no picture"})'
             for place, row, gold in zip(places_of, rows, golds, strict=True)
             if by_id and row.id != place or by_picture and PurePosixPath(row.images[0]).name != gold.image]
    return golds, [Problem(where, f'{len(wrong)} rows are not the images that {_named(given)} has at their place: '
                           f'{_listed(wrong)}.', 'One of the files was sorted or cut; take both from one release.')
                   ] if wrong else []


def _named(given: Annotations) -> str:
    return f"'{given.path if isinstance(given.path, str) else given.path[0]}'"


def _listed(names: Sequence[str]) -> str:
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
