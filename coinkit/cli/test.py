"""`coinkit test CONFIG`: evaluate a finished stage; cells that are already scored are left alone."""

from __future__ import annotations

import argparse

from coinkit.cli.train import add_config_arguments, read_config, show_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument('--stage', metavar='N|zero', help='stage to evaluate (default: the last finished one)')
    parser.add_argument('--tasks', metavar='a,b', help='tasks to evaluate (default: all of the stream)')


def main(args: argparse.Namespace) -> int:
    config = read_config(args)
    from coinkit.engine import launch

    folder = launch.work_dir(config, args.work_dir)
    tasks = [name.strip() for name in args.tasks.split(',')] if args.tasks else None
    if launch.test(config, folder, stage=args.stage, tasks=tasks):
        show_run(folder)
    return 0
