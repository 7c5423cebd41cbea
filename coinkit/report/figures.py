"""Which figures an analysis has, in which order and under which file names; drawing them needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coinkit.report.aggregate import Run
from coinkit.report.analysis import Analysis
from coinkit.report.canvas import png_bytes, svg_bytes
from coinkit.report.judge_tables import failure_note
from coinkit.report.judged import judge_name, judged_run, task_failures
from coinkit.report.tables import file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with its file name (no suffix) and the words around it on a page."""

    name: str
    title: str
    figure: Figure
    note: str = ''

    @property
    def least_width_px(self) -> int:
        """Below this a page scrolls the figure instead of shrinking it."""
        return round(min(self.figure.get_figwidth() * 72, 620))

    def files(self) -> dict[str, bytes]:
        """Its PNG and SVG by file name; equal analyses give equal bytes."""
        return {f'{self.name}.png': png_bytes(self.figure), f'{self.name}.svg': svg_bytes(self.figure)}


def draw(analysis: Analysis) -> list[Drawing]:
    """All figures of an analysis."""
    return list(_drawings(analysis))


def _drawings(analysis: Analysis) -> Iterator[Drawing]:
    from coinkit.report.curves import average_curves, comparison, task_curves
    from coinkit.report.heatmap import heat_map
    from coinkit.report.route_map import route_map
    runs, several = analysis.runs, len(analysis.runs) > 1
    if several:
        yield Drawing('comparison', 'Runs compared', comparison(runs, analysis.headline))
    for run in runs:
        if run.matrix is not None:
            name = f'matrix-{file_name(run.name)}' if several else 'matrix'
            yield Drawing(name, f'Score after each stage: {run.name}' if several else 'Score after each stage',
                          heat_map(run.matrix, std=run.std, title=run.name),
                          'Rows: the stage. Columns: the task that is tested. Outlined: right after learning it.')
    for run in runs:
        yield from _judged(run, f'-{file_name(run.name)}' if several else '')
    if any(run.matrix is not None for run in runs):
        yield Drawing('forgetting', 'Each task over the stages', task_curves(runs))
    yield Drawing('average', 'Average over the tasks seen so far', average_curves(runs))
    for run in runs:
        if run.routing is not None and (last := run.routing.stages[-1]).counts:
            yield Drawing(f'routing-{file_name(run.name)}' if several else 'routing',
                          f'Which stage answered: {run.name}' if several else 'Which stage answered',
                          route_map(run.routing, last, title=f'after {last.name}'),
                          'Rows: the task that is tested. Columns: the stage whose adapter answered, percent. Outlined: the '
                          'one that is right for the task.')


def _judged(run: Run, suffix: str) -> Iterator[Drawing]:
    """The second matrix and the failures, where `coinkit judge` has been."""
    from coinkit.report.failure_bars import failure_bars
    from coinkit.report.heatmap import heat_map
    judged, failures = judged_run(run), task_failures(run)
    if judged is not None and judged.matrix is not None:
        yield Drawing(f'judge{suffix}', f'Reasoning capability after each stage: {run.name}',
                      heat_map(judged.matrix, std=judged.std, title=judge_name(run) or run.name),
                      'What the judge gives, in percent of the most it can give.')
    if failures:
        yield Drawing(f'failures{suffix}', f'Why answers were wrong: {run.name}', failure_bars(failures, title=run.name),
                      failure_note(run))
