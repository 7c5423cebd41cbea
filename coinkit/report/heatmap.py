"""The accuracy matrix as a heat map: one row per stage, one column per task, the value in every cell.

Row 0, set apart, is zero-shot; the last column, set apart, is the average over the tasks seen so far. The diagonal is
outlined: it is what a task scored right after it was learned. Required cells that are missing are hatched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coinkit.report.canvas import INK, MUTED, RULE, new_figure, plain, shorten, style
from coinkit.report.continual import average_curve, zero_shot_mean
from coinkit.types import ScoreMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL_DARK, _CELL_LIGHT = '#000000', '#ffffff'  # text on pale and on dark cells, whatever the page's colours
_GAP = 0.3
_ON_CELL = {'ha': 'center', 'va': 'center'}


def heat_map(matrix: ScoreMatrix, *, std: tuple[tuple[float | None, ...], ...] | None = None,
             title: str = '') -> Figure:
    """The figure of a square matrix; `std` writes ± under each value."""
    with style():
        size, zero = len(matrix.tasks), matrix.zero_shot is not None
        width = 0.74 if std else 0.62
        names = [shorten(task, 24) for task in matrix.tasks]
        label_width = 0.075 * max(map(len, [*names, 'zero-shot'])) + 0.5
        figure = new_figure(max(2.6, label_width + width * (size + 1.3) + 0.2), 1.35 + 0.42 * (size + zero))
        axes = figure.add_subplot()
        _draw_cells(axes, matrix, std)
        _label(axes, names, zero, slanted=max(map(len, names)) * 0.085 > width)
        if title:
            axes.set_title(plain(shorten(title, 60)), pad=12, loc='left')
        return figure


def _draw_cells(axes: Axes, matrix: ScoreMatrix, std: Any) -> None:
    size = len(matrix.tasks)
    for i, row in enumerate(matrix.scores):
        for j, value in enumerate(row):
            _cell(axes, j, i, value, required=j <= i, diagonal=i == j, std=std[i][j] if std else None)
    means = list(enumerate(average_curve(matrix.scores)))
    if matrix.zero_shot is not None:
        means.append((-1 - _GAP, zero_shot_mean(matrix.zero_shot)))
    for y, mean in means:
        text = '–' if mean is None else f'{mean:.1f}'
        axes.text(size + _GAP + 0.5, y + 0.5, text, weight='bold', fontsize=8.5, **_ON_CELL)
    for j, value in enumerate(matrix.zero_shot or ()):
        _cell(axes, j, -1 - _GAP, value, required=False)
    axes.set(xlim=(-0.02, size + _GAP + 1), ylim=(size + 0.02, -0.02 if matrix.zero_shot is None else -1.02 - _GAP))


def _cell(axes: Axes, x: float, y: float, value: float | None, *, required: bool, diagonal: bool = False,
          std: float | None = None) -> None:
    from matplotlib.patches import Rectangle
    if value is None:
        if required:
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor='none', edgecolor=MUTED, hatch='////', linewidth=0))
        return
    fill = cell_color(value)
    axes.add_patch(Rectangle((x + 0.02, y + 0.02), 0.96, 0.96, facecolor=fill, linewidth=0))
    if diagonal:
        axes.add_patch(Rectangle((x + 0.05, y + 0.05), 0.9, 0.9, facecolor='none', edgecolor=contrast(fill), lw=1.1))
    axes.text(x + 0.5, y + (0.5 if std is None else 0.36), f'{value:.1f}', color=contrast(fill), fontsize=8.5,
              **_ON_CELL)
    if std is not None:
        axes.text(x + 0.5, y + 0.7, f'±{std:.1f}', color=contrast(fill), fontsize=6.5, **_ON_CELL)


def cell_color(value: float) -> tuple[float, float, float, float]:
    """0 pale yellow, 100 dark blue: lightness falls evenly, readable in grey and with any colour vision."""
    from matplotlib import colormaps
    return colormaps['YlGnBu'](0.03 + 0.9 * value / 100)


def contrast(fill: tuple[float, float, float, float]) -> str:
    # 0.179: where black and white have the same contrast, 4.58
    luminance = 0.2126 * fill[0] ** 2.2 + 0.7152 * fill[1] ** 2.2 + 0.0722 * fill[2] ** 2.2
    return _CELL_DARK if luminance > 0.179 else _CELL_LIGHT


def _label(axes: Axes, names: list[str], zero: bool, *, slanted: bool) -> None:
    size = len(names)
    rotation = {'rotation': 35, 'ha': 'left', 'rotation_mode': 'anchor'} if slanted else {}
    axes.xaxis.tick_top()
    axes.set_xticks([*(j + 0.5 for j in range(size)), size + _GAP + 0.5], [*map(plain, names), 'mean'], **rotation)
    rows = [(i + 0.5, f'{i + 1}  {plain(name)}') for i, name in enumerate(names)]
    rows = [(-0.5 - _GAP, '0  zero-shot'), *rows] if zero else rows
    axes.set_yticks([position for position, _ in rows], [text for _, text in rows])
    axes.set_ylabel('after training on', fontsize=8, color=INK)
    axes.grid(False)
    axes.tick_params(pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.axvline(size + _GAP / 2, color=RULE, lw=0.8)
