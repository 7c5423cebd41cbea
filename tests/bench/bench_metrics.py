"""Seconds of one core to re-score a predictions file, from the file to the score: `python tests/bench/bench_metrics.py`.

100,000 answers with ten references each, once as answers are (references repeat) and once in the worst case, where no two
texts are the same and nothing can be remembered. CPU seconds, so that a busy machine does not change them much.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from coinkit.metrics.run import score_files
from coinkit.registry import METRICS

ANSWERS = 100_000
LIMIT_S = 10.0  # for ANSWERS answers
SCORERS = ('textvqa_m4c', 'vqa_v2_official', 'vqa_exact_upper', 'stvqa_anls')


def texts(draw: random.Random, words: list[str]) -> Iterator[str]:
    """Answers of one to four words, some of them with capitals, punctuation, articles or numbers."""
    forms = ('{}', '{}', '{}', '{}.', 'the {}', "{}'s", '{}, 7', 'two {}')
    while True:
        text = ' '.join(draw.choices(words, k=draw.randint(1, 4)))
        yield draw.choice(forms).format(text.title() if draw.random() < 0.2 else text)


def write(path: Path, answers: int, *, distinct: bool) -> None:
    """A predictions file; `distinct`: eleven different texts per row, else three."""
    draw = random.Random(0)
    words = [''.join(draw.choices('abcdefghijklmnopqrstuvwxyz', k=draw.randint(2, 9))) for _ in range(5000)]
    source = texts(draw, words)
    with open(path, 'w', encoding='utf-8') as file:
        for i in range(answers):
            few = [f'{next(source)} {i}' if distinct else next(source) for _ in range(11 if distinct else 3)]
            gold = few[1:] if distinct else draw.choices(few, k=10)
            file.write(json.dumps({'id': i, 'prediction': few[0], 'references': gold, 'context': {}}) + '\n')


def measure(answers: int = ANSWERS) -> dict[str, float]:
    """CPU seconds by scorer and kind of file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, distinct in (('usual', False), ('worst', True)):
            path = Path(folder) / f'{kind}.jsonl'
            write(path, answers, distinct=distinct)
            for name in SCORERS:
                start = time.process_time()
                score, _ = score_files(METRICS.build({'type': name}), path)
                found[f'{name} {kind}'] = time.process_time() - start
                assert score.counts['items'] == answers
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--answers', type=int, default=ANSWERS)
    answers = parser.parse_args().answers
    found = measure(answers)
    limit_s = LIMIT_S * answers / ANSWERS
    sys.stdout.write(json.dumps({'answers': answers, 'limit_s': limit_s,
                                 **{key: round(value, 2) for key, value in found.items()}}, indent=1) + '\n')
    return int(max(found.values()) > limit_s)


if __name__ == '__main__':
    sys.exit(main())
