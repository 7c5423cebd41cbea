"""Seconds of one core to re-score a predictions file, from the file to the score: `python tests/bench/bench_metrics.py`.

Every scorer on 100,000 answers of the kind that it reads; those that read free text on ten references each, once as
answers are (references repeat) and once in the worst case, where no two texts are the same and nothing can be remembered.
CPU seconds, so that a busy machine does not change them much.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from coinkit.metrics.m4c import normalise, official
from coinkit.metrics.run import score_files
from coinkit.registry import METRICS

ANSWERS = 100_000
LIMIT_S = 10.0  # for ANSWERS answers
LETTERS, BOXES = ('scienceqa_coin', 'scienceqa_llava'), ('grounding_coin', 'grounding_minigpt')
RATINGS = ('judge_parse_coin',)
CAPTIONS = ('ucit_caption',)  # n-grams of whole sentences in plain Python, in a package of others: told, not limited
TEXTS = tuple(name for name in METRICS.names() if name not in (*LETTERS, *BOXES, *RATINGS, *CAPTIONS))
OPTIONS: dict[str, dict[str, Any]] = {'ucit_caption': {'caption_tokenizer': 'simple'}}
SCIENCE = {'image': 'MapQA_1.png', 'prompt': 'Which states?', 'category': 'x', 'question_type': 'free_form',
           'answer_type': 'text'}

Line = tuple[str, list[str], dict[str, Any]]  # prediction, references, context


def texts(draw: random.Random, words: list[str]) -> Iterator[str]:
    """Answers of one to four words, some of them with capitals, punctuation, articles or numbers."""
    forms = ('{}', '{}', '{}', '{}.', 'the {}', "{}'s", '{}, 7', 'two {}')
    while True:
        text = ' '.join(draw.choices(words, k=draw.randint(1, 4)))
        yield draw.choice(forms).format(text.title() if draw.random() < 0.2 else text)


def text_lines(draw: random.Random, *, distinct: bool) -> Iterator[Line]:
    """Ten references; `distinct`: eleven different texts per row, else three."""
    words = [''.join(draw.choices('abcdefghijklmnopqrstuvwxyz', k=draw.randint(2, 9))) for _ in range(5000)]
    source, number = texts(draw, words), 0
    while True:
        few = [f'{next(source)} {number}' if distinct else next(source) for _ in range(11 if distinct else 3)]
        references = few[1:] if distinct else draw.choices(few, k=10)
        yield few[0], references, {**SCIENCE, 'multiple_choice_answer': references[0]}  # for scorers that compare with one
        number += 1


def letter_lines(draw: random.Random) -> Iterator[Line]:
    forms = ('{}', '{}. because', 'The answer is {}.', 'I think that it is {} in the end')
    while True:
        yield draw.choice(forms).format(draw.choice('ABCD')), [draw.choice('ABCD')], {'num_choices': 4}


def box_lines(draw: random.Random) -> Iterator[Line]:
    while True:
        one, two = ([round(draw.random(), 2) for _ in range(4)] for _ in range(2))
        yield f'[{one[0]:.2f},{one[1]:.2f},{one[2]:.2f},{one[3]:.2f}]', [str(two)], {'size': [640, 480]}


def rating_lines(draw: random.Random) -> Iterator[Line]:
    while True:
        yield draw.choice(('{}', 'Score: {}', '{}/10', 'I give {} of ten')).format(draw.randint(0, 10)), [], {}


KINDS: dict[str, tuple[Sequence[str], Callable[[random.Random], Iterator[Line]]]] = {
    'usual': ((*TEXTS, *CAPTIONS), lambda draw: text_lines(draw, distinct=False)),
    'worst': ((*TEXTS, *CAPTIONS), lambda draw: text_lines(draw, distinct=True)),
    'letters': (LETTERS, letter_lines), 'boxes': (BOXES, box_lines), 'ratings': (RATINGS, rating_lines)}


def write(path: Path, answers: int, lines: Iterator[Line]) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        for i, (prediction, references, context) in zip(range(answers), lines, strict=False):
            file.write(json.dumps({'id': i, 'prediction': prediction, 'references': references, 'context': context}) + '\n')


def measure(answers: int = ANSWERS, scorers: Sequence[str] = METRICS.names()) -> dict[str, float]:
    """CPU seconds by scorer and kind of file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (names, lines) in KINDS.items():
            path = Path(folder) / f'{kind}.jsonl'
            write(path, answers, lines(random.Random(0)))
            for name in (name for name in names if name in scorers):
                metric = METRICS.build({'type': name, **OPTIONS.get(name, {})})
                normalise.cache_clear()  # what another scorer has seen must not help
                official.cache_clear()
                start = time.process_time()
                score, _ = score_files(metric, path)
                found[f'{name} {kind}'] = time.process_time() - start
                assert score.counts['items'] == answers
    return found


def limited(found: dict[str, float]) -> dict[str, float]:
    return {key: seconds for key, seconds in found.items() if not key.startswith(CAPTIONS)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--answers', type=int, default=ANSWERS)
    parser.add_argument('--scorers', nargs='+', default=METRICS.names(), metavar='NAME')
    args = parser.parse_args()
    found = measure(args.answers, args.scorers)
    limit_s = LIMIT_S * args.answers / ANSWERS
    sys.stdout.write(json.dumps({'answers': args.answers, 'limit_s': limit_s,
                                 **{key: round(value, 2) for key, value in found.items()}}, indent=1) + '\n')
    return int(max(limited(found).values(), default=0.0) > limit_s)


if __name__ == '__main__':
    sys.exit(main())
