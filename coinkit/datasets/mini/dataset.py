"""The mini stream's datasets: sample i of a task is drawn from its own seed, so any record can be read at any time.

Nothing is on disk and nothing is cached; a record costs about as much as decoding a small JPEG.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from random import Random
from typing import Any

import PIL
from PIL.Image import Image

from coinkit.datasets.mini.styles import STYLES, instruct
from coinkit.datasets.mini.tasks import NAMES, TASKS, Drawn, references
from coinkit.datasets.mini.world import VERSION
from coinkit.errors import ConfigError, Problem, unknown
from coinkit.types import Sample, Turn

SPLITS = ('train', 'test')
SIZES = {'train': 1280, 'test': 100}  # 80 steps of 16; all cells of eight tasks within minutes on a laptop


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """A drawn picture as an ImageSource; equal keys mean equal pixels. The picture is shared: copy it to change it."""

    key: str
    image: Image = field(compare=False, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def load(self) -> Image:
        return self.image


class Mini:
    """One task of the mini stream.

    `kind` is a key of `tasks.NAMES` ('scienceqa'...); 'train' and 'test' never share a seed; `style` is 'original',
    'diverse' or '10type' and changes the words of the question, never the picture or the answer.
    """

    def __init__(self, kind: str, *, split: str = 'train', size: int | None = None, seed: int = 0,
                 style: str = 'original', task: str = ''):
        problems = self.preflight(kind=kind, split=split, size=size, seed=seed, style=style)
        if problems:
            raise ConfigError(problems)
        self.kind, self.split, self.seed, self.style = kind, split, seed, style
        self.size = SIZES[split] if size is None else size
        self.task = task or NAMES[kind]

    @classmethod
    def preflight(cls, *, kind: str, split: str = 'train', size: int | None = None, seed: int = 0,
                  style: str = 'original', **_: Any) -> list[Problem]:
        """Names and numbers out of range."""
        problems = [unknown(f'Mini: {key}', key, str(given), allowed) for key, given, allowed in
                    (('kind', kind, TASKS), ('split', split, SPLITS), ('style', style, STYLES)) if given not in allowed]
        if size is not None and (not isinstance(size, int) or size < 1):
            problems.append(Problem('Mini: size', f'{size!r} given, a whole number of at least 1 wanted.'))
        if not isinstance(seed, int):
            problems.append(Problem('Mini: seed', f'{seed!r} given, a whole number wanted.'))
        return problems

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes a sample; Pillow's version is part of it, because its fonts are drawn."""
        parts = (VERSION, PIL.__version__, self.kind, self.split, self.size, self.seed, self.style, self.task)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(f'{self.kind} {self.split} has {self.size} samples, none at {index}')
        seed = f'{self.kind}/{self.split}/{self.seed}/{index}'
        drawn = TASKS[self.kind](Random(seed))
        question = instruct(self.kind, drawn.question, self.style, Random(f'{self.style}/{seed}'))
        return self._sample(index, DrawnImage(f'mini{VERSION}/{seed}', drawn.image), drawn, question)

    def _sample(self, index: int, image: DrawnImage, drawn: Drawn, question: str) -> Sample:
        turns = (Turn('human', question),)
        gold = references(self.kind, drawn.answer)
        if self.split == 'train':
            turns, gold = (*turns, Turn('gpt', drawn.answer)), ()
        return Sample(f'{self.kind}-{self.split}-{self.seed}-{index}', self.task, (image,), turns, gold, drawn.meta)
