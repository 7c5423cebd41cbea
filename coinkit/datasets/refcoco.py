"""Referring expressions from the original files of RefCOCO, RefCOCO+ and RefCOCOg: a phrase in, a box out.

Boxes are written as CoIN writes them: x1, y1, x2, y2 in 0..1 of the picture padded to a square. Test samples carry the box
of the unpadded picture as well (`origin_answer_bbox`, for MiniGPT-v2) and the picture's size.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from coinkit.atomic import sha256_file
from coinkit.config.instructions import PLACE, asked, instruction_of
from coinkit.data.doctor.needs import FileNeeded, FolderNeeded, Needed
from coinkit.data.images import POLICIES, FileImage, missing_images
from coinkit.datasets.origins import Origin, wrong_origins
from coinkit.datasets.places import missing_folders, needed_folders
from coinkit.datasets.refer_files import INSTANCES, SOURCE, Referred, read_referred, refs_file
from coinkit.datasets.refer_rows import DECIMALS, GOLD, TASK, THIN_BOXES, Rows, referred_rows
from coinkit.datasets.refused_gold import Refused, metric_of
from coinkit.errors import BadImage, ConfigError, DataError, Problem, raise_problems, unknown
from coinkit.types import Sample, Turn

SENTENCES = ('all', 'first')
EXAMPLES = 3  # missing images and ids named in a message
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _NoImage:
    """A picture whose name leads nowhere: `on_bad_image` decides when it is loaded, as of one that is not there."""

    key: str
    why: str

    @property
    def size(self) -> tuple[int, int]:
        raise BadImage(self.why)

    def load(self) -> Any:
        raise BadImage(self.why)


def _image(name: str, folder: str) -> FileImage | _NoImage:
    try:
        return FileImage(name, folder)
    except BadImage as error:
        return _NoImage(name, str(error))


class RefCOCO:
    """One split of one refs file.

    `path` is the folder of refs(`refs`).p and instances.json, `image_root` that of COCO's train2014; both are below `root`.
    `split` is one name or several: train, val, testA, testB (unc), train, val (google), train, val, test (umd).
    `instruction` has `{}` where the phrase stands; by default CoIN's. `sentences='first'` takes one phrase per object.

    A thin box has no width or no height once it is written with two decimals, which is the published format. No answer
    has an IoU with it. `thin_boxes='keep'` asks for it all the same in a test set, so that the denominator is the
    published one; 'leave_out' does not. Training sets never have them. What was left out is counted in `left_out` and
    logged.
    """

    def __init__(self, path: str, *, refs: str = 'unc', split: str | Sequence[str] = 'train', image_root: str = '',
                 instruction: str | None = None, sentences: str = 'all', thin_boxes: str = 'keep',
                 task: str = '', root: str = '', on_bad_image: str = 'error', limit: int | None = None,
                 image_sources: Mapping[str, str | Mapping[str, Any]] | None = None):
        problems = _wrong_arguments(split, instruction, sentences, thin_boxes, on_bad_image, limit)
        problems += wrong_origins('RefCOCO', '', image_sources)
        if problems:
            raise ConfigError(problems)
        self.folder, self.refs, self.task, self.on_bad_image = Path(root) / path, refs, task, on_bad_image
        self.splits = _splits(split)
        self.split = 'train' if self.splits == ('train',) else 'test'
        self.image_root = str(Path(root) / image_root)
        self.instruction = instruction_of(TASK) if instruction is None else instruction
        found = read_referred(self.folder, refs)
        raise_problems(_absent_splits(self.folder, refs, self.splits, found))
        rows = _rows_of(found, self.splits, self.folder, sentences, thin_boxes)
        self._rows, self.left_out = rows.kept[:limit], len(rows.thin)
        if rows.thin:
            log.warning('%s %s: %d of %d phrases left out: their boxes have no area at %d decimals (%s%s).',
                        refs_file(self.folder, refs), '+'.join(self.splits), len(rows.thin),
                        len(rows.thin) + len(rows.kept), DECIMALS, ', '.join(rows.thin[:EXAMPLES]),
                        ', ...' if len(rows.thin) > EXAMPLES else '')

    @classmethod
    def preflight(cls, *, path: str, refs: str = 'unc', split: str | Sequence[str] = 'train', image_root: str = '',
                  instruction: str | None = None, sentences: str = 'all', thin_boxes: str = 'keep', root: str = '',
                  on_bad_image: str = 'error', limit: int | None = None,
                  image_sources: Mapping[str, Origin] | None = None, scored_by: Mapping[str, Any] | None = None,
                  **_: Any) -> list[Problem]:
        """All that is wrong with the arguments, the two files and the pictures; `scored_by`: the metric of a test set, which
        may want other gold than boxes."""
        problems = _wrong_arguments(split, instruction, sentences, thin_boxes, on_bad_image, limit)
        problems += wrong_origins('RefCOCO', '', image_sources)
        if problems:
            return problems
        problems += missing_folders(Path(root), image_sources or {})
        folder, images = Path(root) / path, str(Path(root) / image_root)
        try:
            found = read_referred(folder, refs)
            problems += _absent_splits(folder, refs, _splits(split), found)
            rows = _rows_of(found, _splits(split), folder, sentences, thin_boxes)
        except DataError as error:
            return [*problems, Problem('', str(error), 'Or set data.root.' if not folder.is_dir() else '')]
        if rows.thin and not rows.kept:
            problems.append(Problem(str(refs_file(folder, refs)), f"all boxes of {'+'.join(_splits(split))} have no area at "
                                    f'{DECIMALS} decimals; there is nothing to ask.', f'Download it again from {SOURCE}.'))
        asked_for, refused = rows.kept[:limit], Refused(metric_of(scored_by))
        for number, row in enumerate(asked_for):
            refused.show(number, row['id'], (row['answer_bbox'],), {key: row[key] for key in GOLD})
        problems += refused.problems(refs_file(folder, refs), len(asked_for))
        names = list(dict.fromkeys(row['image'] for row in asked_for))
        return problems + (_wrong_images(names, folder, images) if on_bad_image == 'error' else [])

    @classmethod
    def inventory(cls, *, path: str, refs: str = 'unc', image_root: str = '', root: str = '',
                  image_sources: Mapping[str, Origin] | None = None, **_: Any) -> list[Needed]:
        """The two files and the pictures' folder, with where they come from."""
        raise_problems(wrong_origins('RefCOCO', '', image_sources))
        folder, images = Path(root) / path, Path(root) / image_root
        return [FileNeeded(path=refs_file(folder, refs), source=SOURCE), FileNeeded(path=folder / INSTANCES, source=SOURCE),
                FolderNeeded(path=images, source='cocodataset.org (2014 train images)', expected_size=13 * 10**9,
                             expected_pictures=82_783),
                *needed_folders(Path(root), image_sources or {})]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both files and of the arguments that change a sample."""
        files = [sha256_file(file) for file in (refs_file(self.folder, self.refs), self.folder / INSTANCES)]
        parts = (files, self.splits, self.task, self.image_root, self.instruction, [row['id'] for row in self._rows])
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f'{self.folder} {"+".join(self.splits)} has {len(self)} samples, none at {index}')
        row = self._rows[index]
        images = (_image(row['image'], self.image_root),)
        question, box = Turn('human', asked(self.instruction, row['phrase'])), row['answer_bbox']
        if self.split == 'train':
            return Sample(row['id'], self.task, images, (question, Turn('gpt', box)))
        meta = {key: row[key] for key in GOLD}
        return Sample(row['id'], self.task, images, (question,), (box,), meta)


def _rows_of(found: Sequence[Referred], splits: Sequence[str], folder: Path, sentences: str, thin_boxes: str) -> Rows:
    """The rows of a set; nothing is learned from a box without area."""
    return referred_rows(found, splits, folder.name, sentences=sentences,
                         thin_boxes='leave_out' if 'train' in splits else thin_boxes)


def _wrong_images(names: Sequence[str], folder: Path, images: str) -> list[Problem]:
    """Names that lead out of the pictures' folder, and pictures that are not there."""
    outside = [made for name in names if isinstance(made := _image(name, images), _NoImage)]
    problems = [Problem(str(folder / INSTANCES), f'{len(outside)} of {len(names)} images cannot be used: {outside[0].why}',
                        f"Download it again from {SOURCE}, or set on_bad_image='skip'.")] if outside else []
    led_out = {made.key for made in outside}
    missing = missing_images((name for name in names if name not in led_out), images)
    if missing:
        more = ', ...' if len(missing) > EXAMPLES else ''
        problems.append(Problem(str(folder), f"{len(missing)} of {len(names)} images are not in '{images}': "
                                f"{', '.join(missing[:EXAMPLES])}{more}.",
                                "Unpack COCO's train2014 there, correct image_root, or set on_bad_image='skip'."))
    return problems


def _splits(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _wrong_arguments(split: Any, instruction: str | None, sentences: str, thin_boxes: str, on_bad_image: str,
                     limit: int | None) -> list[Problem]:
    problems = []
    if not split or not isinstance(split, str | list | tuple) or not all(isinstance(each, str) for each in split):
        problems.append(Problem('RefCOCO: split', f'{split!r} given, one name or a list of names wanted.'))
    elif 'train' in _splits(split) and len(_splits(split)) > 1:
        problems.append(Problem('RefCOCO: split', f'{list(split)} given; train is no part of a test set.'))
    if instruction is not None and PLACE not in instruction:
        problems.append(Problem('RefCOCO: instruction', f'{instruction!r} has no {PLACE}, where the phrase stands.'))
    if sentences not in SENTENCES:
        problems.append(unknown('RefCOCO: sentences', 'choice', str(sentences), SENTENCES))
    if thin_boxes not in THIN_BOXES:
        problems.append(unknown('RefCOCO: thin_boxes', 'choice', str(thin_boxes), THIN_BOXES))
    if on_bad_image not in POLICIES:
        problems.append(unknown('RefCOCO: on_bad_image', 'policy', str(on_bad_image), POLICIES))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        problems.append(Problem('RefCOCO: limit', f'{limit!r} given, a whole number from 1 or None wanted.'))
    return problems


def _absent_splits(folder: Path, refs: str, wanted: Sequence[str], found: Sequence[Referred]) -> list[Problem]:
    there = dict.fromkeys(one.split for one in found)
    return [unknown(f'{refs_file(folder, refs)}: split', 'split', each, there) for each in wanted if each not in there]
