"""Which stage answered which task, as a heat map: one row per tested task, one column per stage, percent in every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coinkit.report.canvas import INK, new_figure, plain, shorten, style
from coinkit.report.heatmap import cell_color, contrast
from coinkit.report.routing import Routing, StageRoutes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 0.62  # inches of a cell


def route_map(routing: Routing, stage: StageRoutes, *, title: str = '') -> Figure:
    """The confusion of one stage; empty cells were never chosen."""
    with style():
        tasks = [task for task in routing.tasks if task in stage.counts]
        columns = _columns(routing, stage)
        names = [shorten(task, 24) for task in tasks]
        label_width = 0.075 * max(map(len, names)) + 0.5
        figure = new_figure(max(2.6, label_width + _WIDTH * len(columns) + 0.2), 1.35 + 0.42 * len(tasks))
        axes = figure.add_subplot()
        for row, task in enumerate(tasks):
            total = sum(stage.counts[task].values())
            right = routing.right_stages(stage, task)
            for column, name in enumerate(columns):
                _cell(axes, column, row, 100.0 * stage.counts[task].get(name, 0) / total, right=name in right)
        _label(axes, names, [shorten(_short(name), 16) for name in columns])
        if title:
            axes.set_title(plain(shorten(title, 60)), pad=12, loc='left')
        return figure


def _columns(routing: Routing, stage: StageRoutes) -> list[str]:
    """The stages that could answer, and any other that did; where tasks share adapters, those that are right for some."""
    used = {name for found in stage.counts.values() for name in found}
    names = routing.stage_names()
    could = {name for right in routing.all_right(stage).values() for name in right}
    could |= set() if routing.shares(stage) else set(names[1:stage.stage + 1])
    return [name for name in names if name in used | could] + sorted(used - set(names))


def _short(name: str) -> str:
    return name.partition('-')[2] or name


def _cell(axes: Axes, x: int, y: int, share: float, *, right: bool) -> None:
    from matplotlib.patches import Rectangle
    fill = cell_color(share)
    if share:
        axes.add_patch(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor=fill, linewidth=0))
        axes.text(x + 0.5, y + 0.5, f'{share:.1f}', color=contrast(fill), fontsize=8.5, ha='center', va='center')
    if right:
        axes.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, facecolor='none', lw=1.1,
                                 edgecolor=contrast(fill) if share else INK))


def _label(axes: Axes, rows: list[str], columns: list[str]) -> None:
    slanted = max(map(len, columns)) * 0.085 > _WIDTH
    rotation = {'rotation': 35, 'ha': 'left', 'rotation_mode': 'anchor'} if slanted else {}
    axes.set(xlim=(-0.02, len(columns) + 0.02), ylim=(len(rows) + 0.02, -0.02))
    axes.xaxis.tick_top()
    axes.set_xticks([x + 0.5 for x in range(len(columns))], [*map(plain, columns)], **rotation)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], [*map(plain, rows)])
    axes.set_ylabel('tested', fontsize=8, color=INK)
    axes.grid(False)
    axes.tick_params(pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
