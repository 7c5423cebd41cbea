"""The samples of pre-training step n, drawn from (seed, n), and the held-out table.

Pictures are drawn in worker processes where a GPU would wait for them; the result is the same with any number of them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING

from coinkit.datasets.mini.dataset import DrawnImage
from coinkit.datasets.mini.sentences import KINDS, draw_sentence
from coinkit.types import Sample, Turn
from tools.mini_pretraining.answer_first import turned

if TYPE_CHECKING:
    from tools.mini_pretraining.model import MiniModel

EVALUATION_BATCH = 100


def draw(seeds: Sequence[str], mix: Mapping[str, float], answer_first: float = 0.0) -> list[Sample]:
    """One training sample per seed; of those that can, a share `answer_first` names the answer first."""
    return [_sample(seed, mix, answer_first) for seed in seeds]


def _sample(seed: str, mix: Mapping[str, float], answer_first: float) -> Sample:
    drawn, human, answer = draw_sentence(Random(seed), mix)
    rng = Random(f'{seed}/form')
    if rng.random() < answer_first:
        human, answer = turned(human, answer, rng) or (human, answer)
    return Sample(seed, 'pretraining', (DrawnImage(seed, drawn.image),), (Turn('human', human), Turn('gpt', answer)))


class Stream:
    """Training batches by step number; a context manager, because it may own worker processes."""

    def __init__(self, mix: Mapping[str, float], *, seed: int, batch_size: int, workers: int = 0, answer_first: float = 0.0):
        self.mix, self.seed, self.batch_size, self.answer_first = dict(mix), seed, batch_size, answer_first
        self.workers = workers
        self._pool = ProcessPoolExecutor(workers, get_context('spawn')) if workers else None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def seeds(self, step: int) -> list[str]:
        return [f'pretrain/{self.seed}/{step}/{row}' for row in range(self.batch_size)]

    def steps(self, first: int, last: int) -> Iterator[list[Sample]]:
        """Batches of steps first..last-1, in order, at most a few steps per worker ahead."""
        if self._pool is None:
            yield from (draw(self.seeds(step), self.mix, self.answer_first) for step in range(first, last))
            return
        ahead: deque[Future[list[Sample]]] = deque()
        for step in range(first, last):
            ahead.append(self._pool.submit(draw, self.seeds(step), self.mix, self.answer_first))
            if len(ahead) > 3 * self.workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class HeldOut:
    """Accuracy of whole sentences on pictures of other seeds: exact match, boxes by IoU > 0.5."""

    def __init__(self, samples_per_kind: int):
        self.count = samples_per_kind

    def score(self, model: MiniModel) -> dict[str, float]:
        return {kind: self._score_kind(model, kind) for kind in KINDS}

    def _score_kind(self, model: MiniModel, kind: str) -> float:
        right = 0
        for first in range(0, self.count, EVALUATION_BATCH):
            rows = range(first, min(first + EVALUATION_BATCH, self.count))
            samples = draw([f'pretrain-held-out/{kind}/{row}' for row in rows], {kind: 1.0})
            said = model.answer([replace(sample, turns=sample.turns[:1]) for sample in samples])
            right += sum(is_right(text, sample.turns[1].text) for text, sample in zip(said, samples, strict=True))
        return 100 * right / self.count


def is_right(said: str, gold: str) -> bool:
    """Equal texts, where each box may be off as far as IoU > 0.5 allows."""
    box = re.compile(r'\[([\d.]+),([\d.]+),([\d.]+),([\d.]+)\]')
    if box.sub('[]', said) != box.sub('[]', gold):
        return False
    pairs = zip(box.findall(said), box.findall(gold), strict=True)
    return all(iou([float(v) for v in a], [float(v) for v in b]) > 0.5 for a, b in pairs)


def iou(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0
