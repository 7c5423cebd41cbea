"""`coinkit data convert SOURCE`: a CoIN task from official annotation files, for a user without CoIN's JSON.

The rows go where the benchmark looks for them, so that its configs run on them as they are, or below --out. Instruction
lines are those of the benchmark's config. What is left out is told with its reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from coinkit.errors import ConfigError, Problem, unknown

if TYPE_CHECKING:
    from coinkit.datasets.convert import Found, Source, Written
    from coinkit.engine.progress import Reporter

SPLITS = ('train', 'test')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', metavar='SOURCE',
                        help='scienceqa, textvqa, imagenet, gqa, vizwiz, grounding (or refcoco, refcoco+, refcocog alone), '
                             'vqav2, ocrvqa')
    parser.add_argument('--root', type=Path, required=True, metavar='D',
                        help="the data root: pictures and official annotations are in D/cl_dataset/ (or D) as CoIN has them")
    parser.add_argument('--annotations', type=Path, metavar='FOLDER', help='where the annotation files are, if not there')
    parser.add_argument('--out', type=Path, metavar='D',
                        help='write D/TASK/{train,test}.jsonl (default: below --root, where the benchmark looks)')
    parser.add_argument('--split', choices=SPLITS, help='this one only (default: both)')
    parser.add_argument('--style', default='original', metavar='S', help='how the benchmark asks: original or diverse')
    parser.add_argument('--instruction', metavar='TEXT', help='ask like this instead; {} stands for the question')
    parser.add_argument('--benchmark', default='coin', metavar='NAME', help='whose instructions and places (default: coin)')
    parser.add_argument('--only-with-images', action='store_true', help='leave out rows whose picture is not on disk')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')


def run(args: argparse.Namespace) -> int:
    """Convert the splits and show what came of them; returns the exit status."""
    from coinkit.config.benchmarks import find_benchmark
    from coinkit.config.instructions import PLACE, instruction_of
    from coinkit.datasets.convert import find, source_named
    from coinkit.engine.progress import Reporter

    source, splits = source_named(args.source), (args.split,) if args.split else SPLITS
    if not args.root.is_dir():
        raise ConfigError(Problem('--root', f"there is no folder '{args.root}'."))
    if args.instruction is not None and not source.instruction_asks and PLACE not in args.instruction:
        raise ConfigError(Problem('--instruction', f'{args.instruction!r} has no place for the question.',
                                  "Write {} where it stands, e.g. '{} Answer with one word.'"))
    instruction = args.instruction or instruction_of(source.task, style=args.style, benchmark=find_benchmark(args.benchmark))
    found = {split: find(source, args.root, split, args.annotations) for split in splits}
    files = {split: _target(args, source.task, split) for split in splits}
    reporter = Reporter()
    written: dict[str, Written] = {}
    try:
        for split in splits:
            written[split] = _convert(source, found[split], split, files[split], instruction, args, reporter)
    finally:
        if written:  # what is done stays, whatever comes of the other split
            _show(source.task, written)
    return 0


def _convert(source: Source, found: Found, split: str, file: Path, instruction: str, args: argparse.Namespace,
             reporter: Reporter) -> Written:
    """One split, under a bar of the kilobytes read."""
    from coinkit.datasets.convert import convert

    total, read = found.num_bytes // 1000, 0
    with reporter.bar(f'{source.name} {split}', total, unit='kB') as bar:
        def advance(count: int) -> None:
            nonlocal read
            read += count
            bar.advance(read // 1000 - bar.done)

        def tell(rows: int) -> None:
            if rows % 1000 == 0:
                bar.advance(0, rows=f'{rows:,}')

        written = convert(source, found, split, file, instruction, need_images=args.only_with_images, advance=advance,
                          tell=tell)
        bar.advance(0, rows=f'{written.rows:,}')
    return written


def _target(args: argparse.Namespace, task: str, split: str) -> Path:
    """Where the split goes: the first place, unless the benchmark would find a file in one of them."""
    if args.out is not None:
        places = [args.out / task / f'{split}.jsonl']
    else:
        places = [args.root / place for place in _benchmark_places(args, task, split)]
    there = [place for place in places if place.exists()]
    if there and not args.overwrite:
        raise ConfigError(Problem(str(there[0]), 'is there already.', 'Say --overwrite to replace it, or --out D to write '
                                  'elsewhere.'))
    return (there or places)[0]


def _benchmark_places(args: argparse.Namespace, task: str, split: str) -> list[str]:
    from coinkit.config.benchmarks import load_benchmark

    config = load_benchmark(args.benchmark, options=[f'benchmark.style={args.style!r}'])
    tasks = {one.name: one for one in config.benchmark.tasks}
    if task not in tasks:
        raise ConfigError(unknown(f'--benchmark {args.benchmark}', 'task', task, tasks))
    path = dict(getattr(tasks[task], split)).get('path')
    if not path:
        raise ConfigError(Problem(f'--benchmark {args.benchmark}', f'{task} is not read from a file of its own.',
                                  'Say --out D.'))
    return [path] if isinstance(path, str) else list(path)


def _show(task: str, written: Mapping[str, Written]) -> None:
    from coinkit.cli.screen import show
    from coinkit.datasets.convert import described

    table = Table('split', 'rows', 'without picture', 'left out', 'rows/s', 'file', title=task)
    for split, one in written.items():
        counts = (one.rows, one.without_image, sum(one.left_out.values()), round(one.rows / max(one.seconds, 1e-3)))
        table.add_row(split, *(f'{count:,}' for count in counts), str(one.file))
    show(table)
    for split, one in written.items():
        print(f'{split}: {described(one) or "nothing was left out."}')
    print(f'Image paths are relative to {next(iter(written.values())).image_root}.')
