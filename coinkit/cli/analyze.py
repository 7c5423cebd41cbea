"""`coinkit analyze`: what was forgotten, from run directories or bare matrix files.

The result goes to standard output in one format; notes about written files go to standard error, so that JSON, CSV and
LaTeX can be piped. A run directory also gets its report.html and figures (again), unless --out names another place.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from coinkit.errors import ConfigError, Problem
from coinkit.report.aggregate import Stat, find_run
from coinkit.report.analysis import Analysis, analyze
from coinkit.report.tables import cell_text, print_tables, tables_of, to_csv, to_latex

FORMATS = ('table', 'json', 'csv', 'latex', 'html')
_PIPED_WIDTH = 240  # columns, where nobody's terminal says otherwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('runs', type=Path, nargs='*', metavar='RUN_DIR',
                        help='run directories; seed-N and order-NAME folders inside are averaged')
    parser.add_argument('--matrix', type=Path, action='append', default=[], metavar='FILE',
                        help='accuracy matrix as JSON or CSV, percent; blank = not measured (repeatable)')
    parser.add_argument('--out', type=Path, metavar='D', help='write report.html, figures, tables and JSON here')
    parser.add_argument('--format', choices=FORMATS, default='table', help='what is printed (default: table)')
    parser.add_argument('--bwt-denominator', choices=('T-1', 'T'), default='T-1',
                        help='which BWT is the headline: T-1 (default) or T, as in the CoIN family')


def main(args: argparse.Namespace) -> int:
    """Analyse, print and write; returns the exit status."""
    runs = [find_run(path) for path in args.runs] + [find_run(path, name=path.stem) for path in _files(args.matrix)]
    if not runs:
        raise ConfigError(Problem('', 'nothing to analyse.', 'Give run directories, or --matrix FILE.'))
    analysis = analyze(runs, bwt_denominator=args.bwt_denominator)
    for warning in analysis.warnings:
        _note(f'warning: {warning}')
    show(analysis, args.format)
    write(analysis, args.out)
    return 0


def show(analysis: Analysis, form: str) -> None:
    """Print the analysis in one of FORMATS."""
    if form == 'json':
        print(json.dumps(analysis.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
    elif form == 'html':
        from coinkit.report.html import render
        print(render(analysis, run_dir=analysis.runs[0].directory if len(analysis.runs) == 1 else None), end='')
    elif form in ('csv', 'latex'):
        render_table = to_csv if form == 'csv' else to_latex
        print('\n'.join(render_table(table) for table in tables_of(analysis, explained=False)), end='')
    else:
        _print_tables(analysis)


def write(analysis: Analysis, out: Path | None) -> None:
    """Everything under `out`; without it, each run directory's own report."""
    from coinkit.report.writer import write_files, write_report
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ConfigError(Problem(f'--out {out}', 'this is a file.', 'Give a folder.'))
        one = analysis.runs[0].directory if len(analysis.runs) == 1 else None
        try:
            files = write_files(analysis, out, run_dir=one)
        except OSError as error:
            raise ConfigError(Problem(f'--out {out}', f'cannot be written ({error.strerror}).')) from error
        _note(f'wrote {len(files)} files to {out}, among them {out / "report.html"}')
        return
    for run in analysis.runs:
        if run.directory is None:
            continue
        try:
            write_report(run.directory, bwt_denominator=analysis.bwt_denominator)
        except OSError as error:
            _note(f'no report in {run.directory}: it cannot be written ({error.strerror}). Use --out D.')
            continue
        _note(f'wrote {run.directory / "report.html"} and {run.directory / "figures"}')
    if len(analysis.runs) > 1:
        _note('the comparison itself is written with --out D')


def _print_tables(analysis: Analysis) -> None:
    from rich.console import Console
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
    print_tables(tables_of(analysis), console)
    name = 'BWT' if analysis.bwt_denominator == 'T-1' else 'BWT_over_T'
    for run in analysis.runs:
        head = f'{run.name}: ' if len(analysis.runs) > 1 else ''
        values = {key: cell_text(run.metrics.get(key, Stat(None))) for key in ('ACC', 'MFT', name, 'Forgetting_max')}
        console.print(f'{head}ACC {values["ACC"]}, MFT {values["MFT"]}, BWT {values[name]} (denominator '
                      f'{analysis.bwt_denominator}), Forgetting_max {values["Forgetting_max"]}',
                      markup=False, highlight=False)


def _files(paths: list[Path]) -> list[Path]:
    for path in paths:
        if path.is_dir():
            raise ConfigError(Problem(f'--matrix {path}', 'this is a folder.', f'For a run directory: analyze {path}'))
    return paths


def _note(text: str) -> None:
    print(text, file=sys.stderr)
