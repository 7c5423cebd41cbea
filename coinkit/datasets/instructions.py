"""LLaVA/CoIN-style instruction data: JSON arrays or JSONL of conversations (training rows) or questions (test rows).

Records are read one by one through a memory-mapped index; pictures are opened by the workers. All records are checked
once, when the index is built, and what is wrong is told in preflight: file, record and id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from coinkit.data.doctor.needs import Needed
from coinkit.data.images import FileImage, without_tags
from coinkit.data.index import open_index
from coinkit.datasets.annotations import Annotations, Gold
from coinkit.datasets.instruction_checks import (
    joined_gold,
    wrong_arguments,
    wrong_gold,
    wrong_images,
    wrong_kinds,
    wrong_rows,
)
from coinkit.datasets.instruction_rows import SURVEY, Row, parse_row, scored_context
from coinkit.datasets.origins import Origin, wrong_origins
from coinkit.datasets.places import (
    file_needed,
    first_file,
    image_folder,
    missing_file,
    missing_folders,
    needed_folders,
    places,
)
from coinkit.datasets.row_look import look_at_question, look_at_row
from coinkit.errors import ConfigError, DataError, Problem, raise_problems
from coinkit.types import IMAGE_TAG, Sample, Turn


class InstructionJson:
    """One file of instruction rows.

    `path` and `image_root` are relative to `root` (the config's `data.root`); image paths in the rows are relative to
    `image_root` (default: `root`). Both may be lists of places: the first file that is there, and the first folder that
    holds the file's first picture. `split` is inferred from the rows: conversations train, questions test; rows of the
    other split are refused. Test samples
    carry their gold answers in `references` and, as context, the row's other fields, its `image` and its `prompt`. The
    loader applies `on_bad_image`.

    `annotations` joins gold answers from an official file (`coinkit.datasets.annotations`). `needs` names context that
    the scorer cannot do without, `num_references` how many gold answers it wants: told before the run when rows lack
    them. `suffix` is put behind every test question; as a dict, by gold answer: {'yes|no': ' ...', '': ' ...'}. With
    `image_gap=' '` a test question follows its picture on the same line (MLLM-CL's OCR), where the model's prompt can.
    `source` says where the file comes from and `image_sources` which folders under `image_root` it needs and where each
    comes from, as a text or dict(text=..., size='13 GB', pictures=82_783): for the list of what is missing.
    """

    def __init__(self, path: str | list[str], *, image_root: str | list[str] | None = None, task: str = '', root: str = '',
                 split: str | None = None, on_bad_image: str = 'error', limit: int | None = None,
                 source: str | Mapping[str, Any] = '', image_sources: Mapping[str, str | Mapping[str, Any]] | None = None,
                 annotations: Mapping[str, Any] | None = None, needs: Sequence[str] = (), num_references: int | None = None,
                 suffix: str | Mapping[str, str] = '', image_gap: Literal['\n', ' '] = '\n'):
        problems = wrong_arguments(split, on_bad_image, limit, annotations, suffix, image_gap, needs)
        problems += wrong_origins('InstructionJson', source, image_sources)
        if problems:
            raise ConfigError(problems)
        tried = places(root, path)
        self.path, self.task, self.on_bad_image, self.limit = first_file(tried) or tried[0], task, on_bad_image, limit
        self._index = open_index(self.path, survey=SURVEY)
        self.image_root = str(image_folder(places(root, image_root or ''), self._index.finding('first_image')))
        problems = wrong_rows(self.path, self._index, gold=annotations is None) or wrong_kinds(self.path, self._index, split)
        if not problems:
            self._joined, problems = joined_gold(self.path, self._index, annotations, root)
        if problems:
            raise DataError('\n'.join(map(str, problems)))
        self._suffix, self._image_gap = suffix, image_gap
        self.split = split or self._index.finding('split')
        self._count = len(self._index) if limit is None else min(limit, len(self._index))

    @classmethod
    def preflight(cls, *, path: str | list[str], image_root: str | list[str] | None = None, root: str = '',
                  split: str | None = None, on_bad_image: str = 'error', limit: int | None = None, source: Origin = '',
                  image_sources: Mapping[str, Origin] | None = None, annotations: Mapping[str, Any] | None = None,
                  needs: Sequence[str] = (), num_references: int | None = None,
                  suffix: str | Mapping[str, str] = '', image_gap: str = '\n', scored_by: Mapping[str, Any] | None = None,
                  **_: Any) -> list[Problem]:
        """All that is wrong with the arguments, the files, their records and images; builds the index. `scored_by`: the
        metric of the rows, which may refuse their gold answers."""
        wrong = wrong_arguments(split, on_bad_image, limit, annotations, suffix, image_gap, needs)
        if wrong_sources := wrong_origins('InstructionJson', source, image_sources):
            return [*wrong, *wrong_sources]
        tried, folders = places(root, path), places(root, image_root or '')
        file = first_file(tried)
        problems = list(wrong)
        if annotations is not None and not wrong:
            problems += Annotations(**annotations).missing(root)
        if file is None:
            problems += missing_folders(image_folder(folders, None), image_sources or {})
            return [*problems, missing_file(tried, source)]
        try:
            index = open_index(file, survey=SURVEY)
        except DataError as error:
            return [*problems, Problem('', str(error))]
        folder = image_folder(folders, index.finding('first_image'))
        problems += missing_folders(folder, image_sources or {})
        found = wrong_rows(file, index, gold=annotations is None) or wrong_kinds(file, index, split)
        if not found and not problems:
            found = wrong_gold(file, index, annotations, root, needs, num_references, scored_by)
        return [*problems, *found, *wrong_images(file, index, str(folder), on_bad_image)]

    @classmethod
    def inventory(cls, *, path: str | list[str], image_root: str | list[str] | None = None, root: str = '',
                  source: Origin = '', image_sources: Mapping[str, Origin] | None = None,
                  annotations: Mapping[str, Any] | None = None, **_: Any) -> list[Needed]:
        """The files and folders it needs, for `coinkit data`."""
        raise_problems([*wrong_origins('InstructionJson', source, image_sources),
                        *(Annotations.wrong(annotations) if annotations is not None else [])])
        files, folders = places(root, path), places(root, image_root or '')
        rows = file_needed(files, source, others=tuple(files[1:]), image_root=partial(image_folder, folders),
                           look=look_at_row if annotations is None else look_at_question)
        return [rows, *(Annotations(**annotations).needed(root) if annotations is not None else []),
                *needed_folders(image_folder(folders, None), image_sources or {})]

    @property
    def fingerprint(self) -> str:
        """Hash of the file's bytes and of the arguments that change a sample."""
        parts = [self._index.digest, self.split, self.task, self.image_root, self._count]
        if self._joined is not None or self._suffix or self._image_gap != '\n':  # else as it was before there were any
            parts += [self._joined, self._suffix, self._image_gap]
        return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._count:
            raise IndexError(f'{self.path} has {self._count} samples, none at {index}')
        row = parse_row(self._index.record(index), gold=self._joined is None)
        images = tuple(FileImage(path, self.image_root) for path in row.images)
        if self.split == 'train':
            turns = row.turns if row.turns[-1].role == 'gpt' else (*row.turns, Turn('gpt', row.answers[0]))
            return Sample(row.id, self.task, images, turns, (), row.meta)
        return self._question(row, images, None if self._joined is None else self._joined[index])

    def _question(self, row: Row, images: tuple[FileImage, ...], gold: Gold | None) -> Sample:
        """A test row as it is asked, with what its scorer may want to know."""
        references = row.answers if gold is None else gold.references
        turns = row.turns[:-1] if row.turns[-1].role == 'gpt' else row.turns
        suffix = _suffix_for(self._suffix, references)
        prompt = without_tags(turns[-1].text) + suffix
        turns = (*turns[:-1], Turn('human', turns[-1].text + suffix))
        meta = scored_context(row, prompt, gold.context if gold else {})
        if self._image_gap == ' ' and len(images) == len(turns) == 1:
            turns = (Turn('human', f'{IMAGE_TAG} {prompt}'),)
        return Sample(row.id, self.task, images, turns, references, meta)


def _suffix_for(suffix: str | Mapping[str, str], references: Sequence[str]) -> str:
    if isinstance(suffix, str):
        return suffix
    gold = references[0].strip().lower() if references else ''
    return next((text for answers, text in suffix.items() if gold in answers.lower().split('|') and answers),
                suffix.get('', ''))
