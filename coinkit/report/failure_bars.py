"""Why answers were wrong, as bars: per task, right after learning it and at the end, what was right and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from coinkit.report.canvas import COLORS, MUTED, new_figure, plain, shorten, style
from coinkit.report.judged import KINDS, Loss, TaskFailures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILLS = {'right': COLORS[2], 'format': COLORS[4], 'knowledge': COLORS[1], 'unjudged': MUTED}
_HEIGHT, _LEAST_LABELLED = 0.4, 7.0  # of a bar, in rows; percent points below which no number fits


def failure_bars(tasks: Mapping[str, TaskFailures], *, title: str = '') -> Figure:
    """Two bars per task, each 100 long."""
    with style():
        names = [shorten(task, 24) for task in tasks]
        figure = new_figure(6.8, 1.1 + 0.52 * len(names))
        axes = figure.add_subplot()
        for place, failures in enumerate(tasks.values()):
            _bar(axes, place + 0.21, failures.final)
            if failures.learned is not None:
                _bar(axes, place - 0.21, failures.learned)
        axes.set_yticks(range(len(names)), [f'{plain(name)}\nlearned / final' for name in names], fontsize=7.5)
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.45, -0.55), xlabel='percent of the items')
        axes.grid(axis='y', visible=False)
        _legend(axes)
        if title:
            axes.set_title(plain(shorten(title, 60)), loc='left', pad=24)
        return figure


def _bar(axes: Axes, y: float, loss: Loss) -> None:
    left = 0.0
    for kind, value in {'right': loss.right, **{kind: loss.points[kind] for kind in KINDS}}.items():
        axes.barh(y, value, _HEIGHT, left=left, color=_FILLS[kind], linewidth=0)
        if value >= _LEAST_LABELLED:
            axes.text(left + value / 2, y, f'{value:.0f}', ha='center', va='center', color='#ffffff', fontsize=7.5)
        left += value


def _legend(axes: Axes) -> None:
    from matplotlib.patches import Patch
    wrong = ('format', 'knowledge')
    patches = [Patch(color=fill, label=f'wrong: {kind}' if kind in wrong else kind) for kind, fill in _FILLS.items()]
    axes.legend(handles=patches, ncols=len(patches), loc='lower left', bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
