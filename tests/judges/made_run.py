"""A run directory as training leaves it, made without a model: drawn questions, and answers that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from coinkit.config import RunConfig, dump, load_config, resolve_stream
from coinkit.registry import DATASETS, METRICS
from coinkit.types import Prediction, Sample, ScoreMatrix, Task

Answering = Callable[[int, Task, int, Sample], str]  # stage, task, number of the sample, sample -> the model's answer
TASKS = ('GQA', 'Grounding')


def forgetful(stage: int, task: Task, number: int, sample: Sample) -> str:
    """Right after its own task; later every second answer is right but wordy, every third is wrong."""
    gold = sample.references[0]
    if stage and resolve_names(task) == stage:
        return gold
    return ('nothing at all', f'It is {gold} here', gold)[number % 3]


def resolve_names(task: Task) -> int:
    return TASKS.index(task.name) + 1


def config_of(tasks: tuple[str, ...] = TASKS, limit: int = 6) -> RunConfig:
    return load_config('mini/finetune', options=[f'tasks=[{",".join(tasks)}]', f'evaluation.limit={limit}'])


def make_run(folder: Path, answer: Answering = forgetful, *, tasks: tuple[str, ...] = TASKS, limit: int = 6) -> Path:
    """config.py, predictions of the lower triangle, matrix.json."""
    config = config_of(tasks, limit)
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(dump(config))
    stream = resolve_stream(config)
    scores: list[list[float | None]] = []
    for stage, learned in enumerate(stream, start=1):
        row: list[float | None] = [None] * len(stream)
        for column, task in enumerate(stream[:stage]):
            rows = answers(task, limit, lambda number, sample, task=task, stage=stage: answer(stage, task, number, sample))
            path = folder / 'predictions' / f'{stage:02d}-{learned.slug}' / f'{task.slug}.jsonl'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(''.join(json.dumps(each.to_json()) + '\n' for each in rows))
            row[column] = METRICS.build(dict(task.metric)).score(rows).value
        scores.append(row)
    matrix = ScoreMatrix(tuple(task.name for task in stream), tuple(map(tuple, scores)))
    (folder / 'matrix.json').write_text(json.dumps(matrix.to_json()))
    return folder


def answers(task: Task, limit: int, answer: Callable[[int, Sample], str]) -> list[Prediction]:
    dataset = DATASETS.build({**task.test, 'task': task.name})
    samples = [dataset[i] for i in range(limit)]
    return [Prediction(sample.id, answer(number, sample), sample.references, sample.meta)
            for number, sample in enumerate(samples)]
