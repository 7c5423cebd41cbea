"""`coinkit data BENCHMARK --root D`: what a benchmark's data lacks, where to get it, and what is wrong with it.

It looks at files, rows and pictures, fetches what a hub hosts when asked (--download), writes the indexes that training
opens, and ends with 'ready' (status 0) or with the list of what is not (status 1). `coinkit data convert` makes
instruction rows of official annotation files.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.cli.options import add_plugin_arguments, plugins_of
from coinkit.errors import ConfigError, Problem, raise_problems

if TYPE_CHECKING:
    from coinkit.config.benchmarks import BenchmarkConfig
    from coinkit.data.doctor.report import Report
    from coinkit.data.doctor.work import NewBar

VERIFY = ('sample', 'all', 'none')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('benchmark', metavar='BENCHMARK',
                        help="coin, coin_refined, mllm_cl_domain, mllm_cl_ability, ucit, mini; or a config: a path or a "
                             "shipped name. 'convert' makes rows of official annotations: coinkit data convert --help")
    parser.add_argument('--root', metavar='D', help='where the data lies or shall lie (default: data.root of the config)')
    parser.add_argument('--style', metavar='S', help='instruction style, where the benchmark has several')
    parser.add_argument('--tasks', metavar='a,b', help='look at these tasks only (default: all)')
    parser.add_argument('--check', action='store_true', help='only look: nothing on disk is changed, no index is written')
    parser.add_argument('--download', action='store_true', help='fetch first what a hub hosts; run again, it goes on')
    parser.add_argument('--verify', choices=VERIFY, default='sample',
                        help='pictures to decode: some of each folder (default), all or none')
    parser.add_argument('--sample', type=_count, default=200, metavar='N',
                        help='pictures of a folder that are decoded (default: %(default)s)')
    parser.add_argument('--duplicates', action='store_true', help='compare the pictures of each task byte by byte')
    parser.add_argument('--strict', action='store_true', help='notes count as faults: not ready while there is any')
    parser.add_argument('--workers', type=_count, metavar='N', help='processes and threads (default: one per core, up to 8)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all findings as JSON')
    parser.add_argument('--cfg-options', metavar='k=v', nargs='+', default=[], help='change keys of the config')
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Download, examine, show; returns the exit status."""
    from coinkit.engine.progress import Reporter

    if args.check and args.download:
        raise ConfigError(Problem('--check', 'given together with --download.', '--check changes nothing: leave one out.'))
    if args.json is not None:
        check_writable(args.json)
    config, reporter = read_benchmark(args), Reporter()

    def new_bar(label: str, total: int, unit: str) -> AbstractContextManager[Any]:
        return reporter.bar(label, total, unit=unit)

    try:
        if args.download:
            from coinkit.data.doctor.hub import download

            download(config.benchmark.downloads, Path(config.data.root), say=reporter.say, new_bar=new_bar)
        report = examine(config, args, new_bar)
    except KeyboardInterrupt:
        sys.stderr.write('\ninterrupted. What was fetched, unpacked and indexed is kept: the same command goes on.\n')
        return 130
    if args.json is not None:
        from coinkit import atomic

        atomic.write_json(args.json, report.to_json(strict=args.strict))
    from coinkit.cli.data_tables import show_report
    from coinkit.data.doctor.sizes import about, bytes_of

    status = show_report(report, strict=args.strict)
    if status and config.benchmark.downloads and not args.download:
        hosted = ', '.join(each.repo + (f' ({about(bytes_of(each.size))})' if each.size else '')
                           for each in config.benchmark.downloads)
        print(f'--download fetches what a hub hosts: {hosted}')
    return status


def check_writable(path: Path) -> None:
    """Told before the examination, which may take long."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    why = (f"'{above}' is no folder" if not above.is_dir() else f"'{above}' may not be written to"
           if not os.access(above, os.W_OK) else 'it is a folder' if path.is_dir() else '')
    if why:
        raise ConfigError(Problem('--json', f"'{path}' cannot be written: {why}.", 'Name another file.'))


def read_benchmark(args: argparse.Namespace) -> BenchmarkConfig:
    """The benchmark as the command line wants it."""
    from coinkit.config.benchmarks import load_benchmark
    from coinkit.data.doctor.sizes import wrong_size

    options = [*args.cfg_options, *([f'benchmark.style={args.style!r}'] if args.style else []),
               *([f'data.root={args.root!r}'] if args.root else [])]
    config = load_benchmark(args.benchmark, options=options, plugins=plugins_of(args))
    raise_problems([problem for number, each in enumerate(config.benchmark.downloads)
                    for problem in wrong_size(f'{config.source}: benchmark.downloads.{number}.size', each.size)])
    return config.chosen(name.strip() for name in args.tasks.split(',')) if args.tasks is not None else config


def examine(config: BenchmarkConfig, args: argparse.Namespace, new_bar: NewBar) -> Report:
    """Everything there is to find."""
    from coinkit.data.doctor.examine import Examination, Options
    from coinkit.data.doctor.sets import sets_of, wrong_needs
    from coinkit.data.doctor.work import default_workers

    options = Options(verify=args.verify, sample_size=args.sample, duplicates=args.duplicates, write=not args.check,
                      workers=args.workers or default_workers())
    sets = sets_of(config.benchmark, config.data)
    raise_problems(wrong_needs(sets))
    return Examination(config.benchmark.name, config.data.root, sets, options, new_bar).run()


def _count(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'{text!r} given, a whole number from 1 wanted')
    return number
