"""Writing an analysis to disk: forgetting.json, routing.json, report.html, figures/*; each file whole or not at all.

`write_report` is what the runner calls at the end of a run; `write_files` puts the tables beside them for `--out`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.report.analysis import Analysis, Denominator, analyze, run_to_json
from coinkit.report.figures import draw
from coinkit.report.html import render
from coinkit.report.matrix_io import to_csv as matrix_to_csv
from coinkit.report.matrix_io import write_matrix
from coinkit.report.routing import FILE as ROUTING
from coinkit.report.tables import file_name, tables_of, to_csv, to_latex

FORGETTING, REPORT, FIGURES = 'forgetting.json', 'report.html', 'figures'


def write_report(run_dir: Path | str, *, sections: Sequence[tuple[str, str]] = (), flags: Sequence[str] = (),
                 bwt_denominator: Denominator = 'T-1') -> Path:
    """Analyse the run in `run_dir` and write its report there; returns the page.

    `sections` are (title, HTML) pairs of plug-ins, `flags` sentences a reader must not miss ('needs the task id at test
    time'). Both are kept in forgetting.json, so that analysing the directory again shows them again.
    """
    folder = Path(run_dir)
    analysis = analyze([folder], bwt_denominator=bwt_denominator)
    kept = read_extras(folder)
    extras = {'flags': [*flags] or kept['flags'], 'sections': [list(pair) for pair in sections] or kept['sections']}
    write_files(analysis, folder, run_dir=folder, extras=extras, tables=False)
    return folder / REPORT


def write_files(analysis: Analysis, out: Path, *, run_dir: Path | None = None, extras: dict[str, Any] | None = None,
                tables: bool = True) -> list[Path]:
    """The report of an analysis under `out`; with `tables` also matrices and tables as CSV and LaTeX."""
    extras = extras or {'flags': [], 'sections': []}
    drawings = draw(analysis)
    files: dict[str, str | bytes] = {FORGETTING: _forgetting(analysis, extras)}
    files[REPORT] = render(analysis, sections=[tuple(pair) for pair in extras['sections']], flags=extras['flags'],
                           drawings=drawings, run_dir=run_dir)
    if len(analysis.runs) == 1 and analysis.runs[0].routing is not None:
        files[ROUTING] = json.dumps(analysis.runs[0].routing.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + '\n'
    for drawing in drawings:
        files |= {f'{FIGURES}/{name}': content for name, content in drawing.files().items()}
    if tables:
        files |= _table_files(analysis)
    for name, content in files.items():
        atomic.write_bytes(out / name, content.encode() if isinstance(content, str) else content)
    if tables:
        files |= dict.fromkeys(_write_matrices(analysis, out), '')
    return [out / name for name in files]


def read_extras(folder: Path) -> dict[str, Any]:
    """Flags and plug-in sections of an earlier report in this directory."""
    path = folder / FORGETTING
    try:
        blob = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    except ValueError:
        blob = {}  # the file is about to be written anew from the matrix
    return {key: blob.get(key, []) if isinstance(blob, dict) else [] for key in ('flags', 'sections')}


def _forgetting(analysis: Analysis, extras: dict[str, Any]) -> str:
    runs = [run_to_json(run, bwt_denominator=analysis.bwt_denominator) for run in analysis.runs]
    blob = runs[0] | {key: value for key, value in extras.items() if value} if len(runs) == 1 else analysis.to_json()
    return json.dumps(blob, indent=1, ensure_ascii=False, allow_nan=False) + '\n'


def _table_files(analysis: Analysis) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in tables_of(analysis, explained=False):
        found[f'{table.name}.tex'] = to_latex(table)
        if not table.name.startswith('matrix-'):  # those are written so that they can be read again
            found[f'{table.name}.csv'] = to_csv(table)
    return found


def _write_matrices(analysis: Analysis, out: Path) -> list[str]:
    """The matrices themselves, in the two forms that can be read again."""
    names = []
    for run in analysis.runs:
        if run.matrix is not None:
            name = f'matrix-{file_name(run.name)}'
            write_matrix(out / f'{name}.json', run.matrix)
            atomic.write_text(out / f'{name}.csv', matrix_to_csv(run.matrix))
            names += [f'{name}.json', f'{name}.csv']
    return names
