"""What can be wrong with an instruction file before a run: its arguments, rows, gold answers and pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coinkit.data.images import POLICIES, missing_images
from coinkit.data.index import RecordIndex
from coinkit.datasets.annotations import Annotations, Gold, join
from coinkit.datasets.instruction_rows import MAX_PROBLEMS, Row, parse_row, question_of, scored_context
from coinkit.datasets.refused_gold import Refused, metric_of
from coinkit.errors import DataError, Problem, unknown

EXAMPLES = 3  # missing images named in a problem


def wrong_arguments(split: str | None, on_bad_image: str, limit: int | None, annotations: Any, suffix: Any,
                    image_gap: str, needs: Any = ()) -> list[Problem]:
    problems = []
    if not isinstance(needs, list | tuple) or not all(isinstance(name, str) for name in needs):
        problems.append(Problem('InstructionJson: needs', f'{needs!r} given, a list of names wanted.',
                                f'Write [{needs!r}].' if isinstance(needs, str) else ''))
    if split not in (None, 'train', 'test'):
        problems.append(unknown('InstructionJson: split', 'split', str(split), ('train', 'test')))
    if on_bad_image not in POLICIES:
        problems.append(unknown('InstructionJson: on_bad_image', 'policy', str(on_bad_image), POLICIES))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        problems.append(Problem('InstructionJson: limit', f'{limit!r} given, a whole number from 1 or None wanted.'))
    if isinstance(suffix, Mapping) and not all(isinstance(text, str) for text in suffix.values()):
        problems.append(Problem('InstructionJson: suffix', f'{dict(suffix)!r} given, a text per gold answer wanted.'))
    if image_gap not in ('\n', ' '):
        problems.append(Problem('InstructionJson: image_gap', f"{image_gap!r} given, '\\n' or ' ' wanted."))
    return problems + (Annotations.wrong(annotations) if annotations is not None else [])


def parsed(index: RecordIndex) -> list[Row]:
    return [parse_row(index.record(i), gold=False) for i in range(len(index))]


def joined_gold(file: Path, index: RecordIndex, annotations: Mapping[str, Any] | None,
                root: str) -> tuple[list[Gold] | None, list[Problem]]:
    """The gold of each row; None without annotations, or when they are optional and absent."""
    if annotations is None:
        return None, []
    given = Annotations(**annotations)
    missing = given.missing(root)
    table = given.table(root) if not missing else {}
    if missing or table is None:
        return None, [*missing, *(wrong_rows(file, index, gold=True) if not missing else [])]
    return join(parsed(index), table, given, file)


def wrong_rows(file: Path, index: RecordIndex, *, gold: bool) -> list[Problem]:
    """What the survey found; an empty file is a problem as well. `gold`: the rows must hold their answers."""
    if not len(index):
        return [Problem(str(file), 'holds no records.', 'Download or write it again.')]
    listed = [index.finding('problems'), *([index.finding('unanswered')] if gold else [])]
    count = sum(part['count'] for part in listed)
    first = sorted(tuple(each) for part in listed for each in part['first'])[:MAX_PROBLEMS]
    problems = [Problem(f'{file}: record {at}' + (f" (id '{name}')" if name else ''), message)
                for at, name, message in first]
    more = count - len(problems)
    return [*problems, Problem(str(file), f'{more} more records are wrong.')] if more else problems


def wrong_kinds(file: Path, index: RecordIndex, split: str | None) -> list[Problem]:
    """Rows of the other split: a mixture, or a whole file in the wrong place."""
    wanted: str = split or index.finding('split')
    other = 'test' if wanted == 'train' else 'train'
    odd, fitting = (index.finding('kinds').get(kind) for kind in (other, wanted))
    if not odd:
        return []
    kinds = {'train': "training rows ('conversations')", 'test': "test rows ('text' and an answer)"}
    if fitting is None:
        return [Problem(str(file), f"holds {kinds[other]} only; the {wanted} set wants {kinds[wanted]}.",
                        'Look whether the files of the two splits were swapped.')]
    where = f"{file}: record {odd['first']}" + (f" (id '{odd['id']}')" if odd['id'] else '')
    return [Problem(where, f"the file mixes {fitting['count']} {kinds[wanted]} with {odd['count']} {kinds[other]}, of which "
                    'this is the first.', 'Write the rows of the two splits into files of their own.')]


def wrong_gold(file: Path, index: RecordIndex, annotations: Mapping[str, Any] | None, root: str, needs: Sequence[str],
               num_references: int | None, scored_by: Mapping[str, Any] | None = None) -> list[Problem]:
    """What the scorer would miss, refuse, or find joined wrongly."""
    try:
        golds, problems = joined_gold(file, index, annotations, root)
    except DataError as error:
        return [Problem('', str(error))]
    metric = metric_of(scored_by)
    if problems or not needs and num_references is None and metric is None:
        return problems
    lacking: dict[str, int] = {}
    refused = Refused(metric)
    for number, (row, gold) in enumerate(_rows_with_gold(index, golds)):
        context = scored_context(row, question_of(row), gold.context)
        for name in needs:
            lacking[name] = lacking.get(name, 0) + all(context.get(each) is None for each in name.split('|'))
        if num_references is not None and len(gold.references) != num_references:
            name = f'{num_references} gold answers'
            lacking[name] = lacking.get(name, 0) + 1
        refused.show(number, row.id, gold.references, context)
    cure = (f'Put {Annotations(**annotations).path} below data.root.' if annotations and golds is None else
            'Give annotations=dict(kind=..., path=...), or take another metric.')
    return [Problem(str(file), f"{count} of {len(index)} rows have no {name.replace('|', ' or ')}, which the task's metric "
                    'needs.', cure) for name, count in lacking.items() if count] or refused.problems(file, len(index))


def _rows_with_gold(index: RecordIndex, golds: Sequence[Gold] | None) -> Iterator[tuple[Row, Gold]]:
    for number in range(len(index)):
        row = parse_row(index.record(number), gold=golds is None)
        yield row, Gold(row.answers) if golds is None else golds[number]


def wrong_images(file: Path, index: RecordIndex, folder: str, on_bad_image: str) -> list[Problem]:
    images: dict[str, int] = index.finding('images')
    if not images or on_bad_image == 'text_only':
        return []
    if not os.path.isdir(folder):
        return [Problem(str(file), f"its image folder '{folder}' does not exist.", 'Set image_root or data.root.')]
    if on_bad_image != 'error':
        return []
    missing = missing_images(images, folder)
    if not missing:
        return []
    named = ', '.join(f"'{path}' (record {images[path]})" for path in missing[:EXAMPLES])
    return [Problem(str(file), f"{len(missing)} of {len(images)} images are not in '{folder}': {named}"
                    f"{', ...' if len(missing) > EXAMPLES else ''}.",
                    "Unpack the missing archive, correct image_root, or set on_bad_image='skip'.")]
