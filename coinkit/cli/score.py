"""`coinkit score`: score a predictions file again, without a model and without torch.

Prints one JSON line `{"metric", "score", "n", ...}`; --per-sample writes one `{"id", "score"}` line per item, --table
the submission table of a metric that is scored elsewhere.
"""

from __future__ import annotations

import argparse
import ast
import csv
import inspect
import io
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.errors import ConfigError, Problem, unknown
from coinkit.types import Metric, Prediction, Score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('predictions', type=Path, metavar='PREDICTIONS.jsonl',
                        help='one {"id", "prediction", "references", "context"} per line')
    parser.add_argument('--metric', required=True, metavar='NAME',
                        help='scorer, e.g. textvqa_m4c (coinkit list metrics)')
    parser.add_argument('--annotations', type=Path, metavar='FILE',
                        help='gold answers; they give the denominator, missing predictions count as wrong')
    parser.add_argument('--option', action='append', default=[], metavar='K=V',
                        help='option of the scorer, e.g. mode=upstream (repeatable)')
    parser.add_argument('--per-sample', type=Path, metavar='OUT.jsonl', help='write {"id", "score"} per item')
    parser.add_argument('--table', type=Path, metavar='OUT.tsv',
                        help='write the table to submit, for a metric that is scored elsewhere (mllmcl_app)')


def main(args: argparse.Namespace) -> int:
    """Score and print; returns the exit status."""
    from coinkit.metrics.run import matched_rows
    metric = build_metric(args.metric, args.option)
    if args.table is not None and not hasattr(metric, 'table'):
        raise ConfigError(Problem('--table', f'{args.metric} is scored here and has no table to submit.',
                                  'Leave --table out.'))
    rows = matched_rows(metric, args.predictions, args.annotations, tell=partial(print, file=sys.stderr))
    score = metric.score(rows)
    if args.per_sample is not None:
        write_per_sample(args.per_sample, args.metric, score, [row.id for row in rows])
    if args.table is not None:
        write_table(args.table, metric, rows)
    print(json.dumps(summary(args.metric, score, len(rows)), ensure_ascii=False))
    return 0


def build_metric(name: str, options: Sequence[str]) -> Metric:
    """The scorer with its `K=V` options, each checked against the scorer's arguments."""
    from coinkit.plugins import current_plugins
    from coinkit.registry import METRICS
    current_plugins()  # a scorer may come from an installed plug-in
    arguments = dict(parse_option(text) for text in options)
    allowed = inspect.signature(METRICS.get(name)).parameters
    problems = [unknown(f'--option {key}', f'option of metric {name}', key, allowed) for key in arguments
                if key not in allowed]
    if problems:
        raise ConfigError(problems)
    return METRICS.build({'type': name, **arguments})


def parse_option(text: str) -> tuple[str, Any]:
    """`k=v` with the value read as a Python literal where it is one, as true/false/null, else as text."""
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise ConfigError(Problem(f'--option {text}', 'not of the form K=V.', 'Example: --option mode=upstream'))
    words = {'true': True, 'false': False, 'null': None}
    try:
        return key, words[value.lower()] if value.lower() in words else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def summary(name: str, score: Score, num_rows: int) -> dict[str, Any]:
    """What is printed: the unrounded score with its counts, the scorer's own id and the switches it was made with."""
    return {'metric': name, 'score': score.value, 'n': score.counts.get('items', num_rows),
            'counts': dict(score.counts), **score.details}


def write_per_sample(path: Path, name: str, score: Score, ids: Sequence[str]) -> None:
    if score.per_sample is None:
        raise ConfigError(Problem('--per-sample', f'{name} is a corpus metric: it has no score per sample.',
                                  'Leave --per-sample out.'))
    lines = [json.dumps({'id': key, 'score': value}) for key, value in zip(ids, score.per_sample, strict=True)]
    atomic.write_text(path, '\n'.join(lines) + '\n')


def write_table(path: Path, metric: Any, rows: Sequence[Prediction]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter='\t', lineterminator='\n').writerows(metric.table(rows))
    atomic.write_bytes(path, text.getvalue().encode(errors='replace'))  # half a surrogate pair, which no file holds, is '?'
