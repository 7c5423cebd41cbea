"""report.html: summary, matrix, curves, metrics with their formulas, tasks, plug-in sections, provenance, config.

One file without any outside resource: figures are inline SVG whose text takes the page's colour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coinkit.errors import DataError
from coinkit.report.aggregate import Run, Stat
from coinkit.report.analysis import Analysis
from coinkit.report.canvas import inline_svg
from coinkit.report.continual import FORMULAS
from coinkit.report.figures import Drawing, draw
from coinkit.report.page import TEMPLATE
from coinkit.report.scored import scorer_table
from coinkit.report.tables import ARROWS, Table, cell_text, metrics_table, tables_of

_BWT_NAMES = {'BWT': 'BWT /(T−1)', 'BWT_over_T': 'BWT /T'}
_MAX_MISSING = 12


def render(analysis: Analysis, *, sections: Sequence[tuple[str, str]] = (), flags: Sequence[str] = (),
           title: str = '', drawings: Sequence[Drawing] | None = None, run_dir: Path | None = None) -> str:
    """The page. `sections` are (title, HTML) from plug-ins; config and environment are read from `run_dir`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    environment = _read_environment(run_dir)
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    figures = [{'title': drawing.title, 'note': drawing.note, 'svg': Markup(inline_svg(drawing.figure)),
                'least': drawing.least_width_px} for drawing in (draw(analysis) if drawings is None else drawings)]
    return page.from_string(TEMPLATE).render(
        title=title or ' · '.join(run.name for run in analysis.runs), subtitle=_subtitle(analysis.runs),
        flags=[*flags, *analysis.warnings, *_missing(analysis.runs)], tiles=_tiles(analysis), figures=figures,
        tables=[_table(table, Markup) for table in _tables(analysis)],
        sections=[{'title': heading, 'html': Markup(body)} for heading, body in sections],
        plugins=_plugins(environment), environment=_digest(environment), config=_read_config(run_dir)) + '\n'


def _tables(analysis: Analysis) -> list[Table]:
    """The heat maps show the matrices; their tables would only repeat them. Seeds get a row each. Scorers come last."""
    tables = [table for table in tables_of(analysis) if not table.name.startswith('matrix-')]
    scorers = [table for table in map(scorer_table, analysis.runs) if table is not None]
    return tables + [metrics_table(run.members) for run in analysis.runs if run.members] + scorers


def _subtitle(runs: Sequence[Run]) -> str:
    if len(runs) > 1:
        return f'{len(runs)} runs beside each other'
    run = runs[0]
    over = f', mean ± standard deviation over {len(run.members)} runs' if run.members else ''
    return f'{len(run.tasks)} task{"s" if len(run.tasks) > 1 else ""}{over}: {" → ".join(run.tasks)}'


def _tiles(analysis: Analysis) -> list[dict[str, str]]:
    if len(analysis.runs) > 1:
        return []
    formulas = {formula.name: formula for formula in FORMULAS}
    metrics = analysis.runs[0].metrics
    return [{'name': _BWT_NAMES.get(name, name), 'arrow': ARROWS[formulas[name].direction],
             'value': cell_text(metrics.get(name, Stat(None))), 'note': formulas[name].note}
            for name in (*analysis.headline, 'FWT') if name in metrics]


def _missing(runs: Sequence[Run]) -> list[str]:
    """One flag per run: which required cells are not there."""
    flags = []
    for run in runs:
        if run.missing:
            listed = '; '.join(run.missing[:_MAX_MISSING])
            more = f'; and {len(run.missing) - _MAX_MISSING} more' if len(run.missing) > _MAX_MISSING else ''
            flags.append(f'{run.name}: {len(run.missing)} required cells are missing, so some metrics are not defined: '
                         f'{listed}{more}')
    return flags


def _table(table: Table, safe: Any) -> dict[str, Any]:
    numeric = [all(isinstance(cells[i], Stat) for _, cells in table.rows) for i in range(len(table.columns))]
    attributes = [safe(' class="num"') if number else '' for number in numeric]
    return {'title': table.title, 'corner': table.corner, 'notes': table.notes,
            'columns': [{'text': text, 'attribute': attribute}
                        for text, attribute in zip(table.columns, attributes, strict=True)],
            'rows': [{'label': label, 'cells': [{'text': cell_text(cell), 'attribute': attribute}
                                                for cell, attribute in zip(cells, attributes, strict=True)]}
                     for label, cells in table.rows]}


def _read_environment(run_dir: Path | None) -> Mapping[str, Any]:
    path = None if run_dir is None else run_dir / 'environment.json'
    if path is None or not path.exists():
        return {}
    try:
        blob = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path}: not JSON ({error}).') from None
    return blob if isinstance(blob, dict) else {'environment': blob}


def _read_config(run_dir: Path | None) -> str:
    path = None if run_dir is None else run_dir / 'config.py'
    return path.read_text(encoding='utf-8') if path is not None and path.exists() else ''


def _plugins(environment: Mapping[str, Any]) -> list[dict[str, str]]:
    plugins = environment.get('plugins')
    plugins = plugins if isinstance(plugins, list) else []
    return [{key: str(plugin.get(key) or '') for key in ('name', 'version', 'file', 'sha256')}
            for plugin in plugins if isinstance(plugin, dict)]


def _digest(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Flat lines of what the run was made with; plug-ins have a table of their own."""
    lines = []
    for key, value in environment.items():
        if key == 'plugins':
            continue
        if isinstance(value, dict):
            value = ', '.join(f'{name} {part}' for name, part in value.items())
        lines.append((str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return lines
