"""`coinkit plugins`: which plug-ins take part, from where, in which version, and what they provide."""

from __future__ import annotations

import argparse
import json
import sys

from rich.table import Table

from coinkit.cli.options import add_plugin_arguments, plugins_of
from coinkit.cli.screen import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--format', choices=('table', 'json'), default='table')
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    manager = plugins_of(args)
    manager.check_disabled()
    rows = manager.provenance()
    if args.format == 'json':
        sys.stdout.write(json.dumps(rows, indent=2) + '\n')
        return 0
    table = Table('plug-in', 'version', 'found as', 'provides', 'file')
    for row in rows:
        provides = '; '.join(f'{kind} {", ".join(names)}' for kind, names in row['components'].items())
        table.add_row(row['name'], row['version'] or '-', row['source'], provides or 'hooks only', row['file'])
    show(table)
    return 0
