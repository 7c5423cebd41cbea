"""`coinkit train CONFIG`: train on task after task and measure every one; run again, it continues."""

from __future__ import annotations

import argparse
from pathlib import Path

from coinkit.cli.options import add_plugin_arguments, plugins_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument('--dry-run', action='store_true', help='print the plan and what is missing; train nothing')
    parser.add_argument('--fresh', action='store_true', help='start anew; the old run directory is kept under another name')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """What train and test share: the config, where it runs, and what changes it."""
    parser.add_argument('config', metavar='CONFIG', help='a config file, or a shipped name such as coin/llava_moelora')
    parser.add_argument('--work-dir', metavar='D', help='run directory (default: work_dirs/<name of the config>)')
    parser.add_argument('--mini', action='store_true',
                        help='the same config on the embedded mini model and tasks: no weights, no data, minutes')
    add_plugin_arguments(parser)
    parser.add_argument('--cfg-options', metavar='k=v', nargs='+', default=[],
                        help='change keys of the config, e.g. schedule.lr=1e-4 methods.0.rank=64')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)  # the deepspeed launcher adds it


def read_config(args: argparse.Namespace):
    """The valid config with the command line's changes, its plug-ins loaded."""
    from coinkit.config import load_config

    return load_config(args.config, options=args.cfg_options, mini=args.mini, plugins=plugins_of(args))


def main(args: argparse.Namespace) -> int:
    config = read_config(args)
    from coinkit.engine import launch

    folder = launch.work_dir(config, args.work_dir)
    if args.dry_run:
        from coinkit.engine.plan import show_plan

        return show_plan(config, folder)
    if launch.train(config, folder, fresh=args.fresh):
        show_run(folder)
    return 0


def show_run(folder: Path) -> None:
    """Matrix and metrics of a run (over seeds and orders, where it has them), and where its report is."""
    from coinkit.cli.analyze import show, write
    from coinkit.report.aggregate import find_run
    from coinkit.report.analysis import analyze

    analysis = analyze([find_run(folder)])
    show(analysis, 'table')
    write(analysis, None)
    print(f'report: {folder / "report.html"}')
