"""Batched generation against a loop over single prompts: `python tests/bench/bench_generation.py [--gpu]`.

Both answer the same mini questions with the same weights; the texts are compared before anything is timed, then the two
take turns. Seconds on the CPU are processor seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from coinkit.backbones.base import Backbone
from coinkit.backbones.llava import Llava
from coinkit.datasets.mini.dataset import Mini
from coinkit.engine.generation import decode_batch, default_token_budget, generate, plan_batches, requests_for
from coinkit.types import Sample

KINDS = ('scienceqa', 'textvqa', 'imagenet', 'gqa', 'vizwiz', 'grounding', 'vqav2', 'ocrvqa')


def questions(per_task: int) -> list[Sample]:
    sets = [Mini(kind, split='test', size=per_task) for kind in KINDS]
    return [samples[position] for samples in sets for position in range(per_task)]


def one_by_one(backbone: Backbone, samples: list[Sample], max_new_tokens: int) -> dict[int, str]:
    """What an evaluation script does: encode, prefill and decode each question by itself."""
    answers = {}
    for number, sample in enumerate(samples):
        batch = backbone.collate([backbone.encode(sample, training=False)], padding_side='left')
        answers[number] = backbone.decode(decode_batch(backbone, batch, [max_new_tokens])[0])
    return answers


def batched(backbone: Backbone, samples: list[Sample], max_new_tokens: int) -> dict[int, str]:
    answers: dict[int, str] = {}
    requests = requests_for(backbone, samples, max_new_tokens=max_new_tokens)
    plan = plan_batches([request.length for request in requests], token_budget=default_token_budget(backbone))
    generate(backbone, requests, plan=plan, on_batch=answers.update, workers=1)
    return answers


def measure(*, per_task: int = 16, rounds: int = 3, max_new_tokens: int = 24, device: str = 'cpu',
            dtype: str = 'float32') -> dict[str, float]:
    """Samples a second of both, and the ratio."""
    backbone, samples = Llava('mini', dtype=dtype, device=device), questions(per_task)
    ways: dict[str, Callable[..., dict[int, str]]] = {'loop': one_by_one, 'batched': batched}
    first, second = (way(backbone, samples, max_new_tokens) for way in ways.values())
    differing = sum(first[number] != second[number] for number in first)
    assert not differing or dtype != 'float32', f'{differing} of {len(first)} answers differ'
    clock = time.process_time if device == 'cpu' else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way(backbone, samples, max_new_tokens)
            times[name].append(clock() - start)
    rates = {name: len(samples) / statistics.median(values) for name, values in times.items()}
    return {**{f'{name}_per_s': rate for name, rate in rates.items()}, 'differing': differing,
            'batched/loop': rates['batched'] / rates['loop']}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', action='store_true', help='one GPU, bfloat16')
    parser.add_argument('--dtype', default='float32')
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = dict(device='cuda', dtype='bfloat16', per_task=64) if given.gpu else dict(dtype=given.dtype)
    result = {name: round(value, 3) for name, value in measure(**size).items()}
    sys.stdout.write(json.dumps({'size': size, **result}, indent=1) + '\n')
