"""Tables on the terminal; in a pipe they are wide and plain, so that `grep` finds whole lines."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 200  # columns where there is no terminal to ask


def show(table: Table) -> None:
    """Print a table to stdout."""
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH, markup=False).print(table)
