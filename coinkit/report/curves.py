"""Curves and bars: each task over the stages, the average over the stages, and several runs beside each other.

One colour and marker per run, the same in every figure. Before a task is learned its line is dashed: those cells (the
upper triangle and zero-shot) show transfer, not forgetting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coinkit.report.aggregate import Run, Stat
from coinkit.report.canvas import COLORS, INK, MARKERS, MUTED, new_figure, plain, run_style, shorten, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MAX_COLUMNS = 4
_LEGEND_NAME = 36  # letters of a run's name
_BEFORE: Mapping[str, Any] = {'lw': 1.1, 'ls': (0, (2, 2)), 'marker': 'o', 'ms': 3, 'mfc': 'none', 'mew': 0.9}


def task_curves(runs: Sequence[Run]) -> Figure:
    """One panel per task: its score after every stage, one line per run; the mark is where it was learned."""
    with style():
        tasks = list(dict.fromkeys(task for run in runs for task in run.tasks))
        columns = min(_MAX_COLUMNS, len(tasks))
        rows = math.ceil(len(tasks) / columns)
        width = max(3.6, 2.15 * columns + 0.5)
        figure = new_figure(width, 1.75 * rows + 0.5 + _legend_height(runs, width))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        last_stage = max(len(run.tasks) for run in runs)
        for panel, task in zip(grid.flat, tasks, strict=False):
            panel.set_title(plain(shorten(task, 24)), loc='left')
            for number, run in enumerate(runs):
                _task_line(panel, run, task, number)
            panel.set(ylim=(-4, 104), xticks=_stage_ticks(last_stage), yticks=(0, 25, 50, 75, 100))
        for panel in grid.flat[len(tasks):]:
            panel.set_visible(False)
        zero = any(run.matrix and run.matrix.zero_shot for run in runs)
        figure.supxlabel('stage (0 = zero-shot)' if zero else 'stage', fontsize=8.5)
        figure.supylabel('score', fontsize=8.5)
        _legend(figure, runs, _task_marks(runs[0]))
        return figure


def average_curves(runs: Sequence[Run]) -> Figure:
    """Average over the tasks seen so far, per stage; a band of one standard deviation over seeds."""
    with style():
        longest = max(runs, key=lambda run: len(run.tasks)).tasks
        same_tasks = all(run.matrix and run.tasks == longest for run in runs)
        width = max(3.8, min(9.0, 1.6 + 0.62 * len(longest)))
        figure = new_figure(width, 3.0 + _legend_height(runs, width))
        axes = figure.add_subplot()
        for number, run in enumerate(runs):
            _average_line(axes, run, number)
        stages = range(1, len(longest) + 1)
        if same_tasks:
            slanted = {'rotation': 35, 'ha': 'right', 'rotation_mode': 'anchor'} if len(longest) > 2 else {}
            axes.set_xticks(stages, [plain(f'{i} {shorten(task, 18)}') for i, task in enumerate(longest, 1)], **slanted)
        else:
            axes.set_xticks(stages)
        axes.set(xlim=(0.7, len(longest) + 0.3), ylim=(-2, 102), xlabel='after training on', ylabel='mean score')
        if len(runs) == 1 and same_tasks:
            _diagonal(axes, runs[0])
        _legend(figure, runs, _average_marks()[:1 + bool(same_tasks)])
        return figure


def comparison(runs: Sequence[Run], names: Sequence[str]) -> Figure:
    """Horizontal bars, one panel per metric and one bar per run, with the value written out."""
    with style():
        labels = [plain(shorten(run.name, 30)) for run in runs]
        figure = new_figure(1.2 + 0.07 * max(map(len, labels)) + 1.9 * len(names), 0.75 + 0.3 * len(runs))
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            _bars(panel, [run.metrics.get(name, Stat(None)) for run in runs])
            panel.set_title(plain(name), loc='left')
        panels[0].set_yticks(range(len(runs)), labels)
        panels[0].set_ylim(len(runs) - 0.45, -0.55)
        return figure


def _task_line(axes: Axes, run: Run, task: str, number: int) -> None:
    """Only neighbouring stages are joined: a gap in the line is a cell that was not measured."""
    if run.matrix is None or task not in run.tasks:
        return
    column, color = run.tasks.index(task), COLORS[number % len(COLORS)]
    zero = run.matrix.zero_shot
    scores = [zero[column] if zero else None, *(row[column] for row in run.matrix.scores)]
    values = [math.nan if score is None else score for score in scores]
    learned, stages = column + 1, range(len(values))
    axes.plot(stages[:learned + 1], values[:learned + 1], color=color, markevery=range(learned), **_BEFORE)
    axes.plot(stages[learned:], values[learned:], **{**run_style(number), 'marker': '.', 'ms': 2.5})
    axes.plot([learned], [values[learned]], **{**run_style(number), 'ls': 'none'})


def _average_line(axes: Axes, run: Run, number: int) -> None:
    means = [math.nan if stat.mean is None else stat.mean for stat in run.curve]
    stages = range(1, len(means) + 1)
    axes.plot(stages, means, **run_style(number))
    if any(stat.std for stat in run.curve):
        band = [(mean - (stat.std or 0.0), mean + (stat.std or 0.0))
                for mean, stat in zip(means, run.curve, strict=True)]
        axes.fill_between(stages, *zip(*band, strict=True), color=run_style(number)['color'], alpha=0.18, lw=0)


def _diagonal(axes: Axes, run: Run) -> None:
    """What each task scored right after it was learned: the height that forgetting falls from."""
    learned = [(stage, run.per_task[task]['learned'].mean) for stage, task in enumerate(run.tasks, start=1)]
    measured = [point for point in learned if point[1] is not None]
    if measured:
        axes.plot(*zip(*measured, strict=True), color=MUTED, ls='none', marker='_', ms=11, mew=1.8)


def _bars(axes: Axes, stats: Sequence[Stat]) -> None:
    values = [stat.mean or 0.0 for stat in stats]
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.42 * ((high - low) or 1.0)
    for y, stat in enumerate(stats):
        if stat.mean is None:
            axes.text(0, y, ' –', va='center', fontsize=8, color=INK)
            continue
        axes.barh(y, stat.mean, height=0.66, color=COLORS[y % len(COLORS)])
        spread = stat.std or 0.0
        if spread:
            axes.errorbar(stat.mean, y, xerr=spread, color=INK, lw=1, capsize=2)
        negative = stat.mean < 0
        text = f'{stat.mean:.1f}' + (f' ±{spread:.1f}' if stat.std is not None else '')
        axes.annotate(text, (stat.mean + (-spread if negative else spread), y), xytext=(-4 if negative else 4, 0),
                      textcoords='offset points', va='center', ha='right' if negative else 'left', fontsize=8)
    axes.set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 or low == 0 else 0))
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.grid(False, axis='y')
    axes.locator_params(axis='x', nbins=4)


def _stage_ticks(last: int) -> range:
    return range(0, last + 1, 1 if last <= 10 else math.ceil(last / 8))


def _legend_columns(runs: Sequence[Run], width: float) -> int:
    """How many legend entries fit beside each other in `width` inches."""
    longest = max(len(shorten(run.name, _LEGEND_NAME)) for run in runs) if len(runs) > 1 else 32
    return max(1, min(max(2, len(runs)), int(width / (0.65 + 0.075 * longest))))


def _legend_height(runs: Sequence[Run], width: float) -> float:
    return 0.2 * math.ceil(max(2, len(runs)) / _legend_columns(runs, width))


def _legend(figure: Figure, runs: Sequence[Run], one_run: Sequence[Line2D]) -> None:
    """Runs by colour and marker above the panels; for one run, what its marks mean (`one_run`)."""
    from matplotlib.lines import Line2D
    entries = [Line2D([], [], **run_style(n), label=plain(shorten(run.name, _LEGEND_NAME))) for n, run in enumerate(runs)]
    figure.legend(handles=one_run if len(runs) == 1 else entries, loc='outside upper left',
                  ncols=_legend_columns(runs, figure.get_figwidth()), handlelength=2.6)


def _task_marks(run: Run) -> list[Line2D]:
    from matplotlib.lines import Line2D
    marks = [Line2D([], [], color=COLORS[0], marker=MARKERS[0], label='learned here, then later stages'),
             Line2D([], [], color=COLORS[0], label='before it is learned', **_BEFORE)]
    return marks if _has_upper(run) else marks[:1]


def _average_marks() -> list[Line2D]:
    from matplotlib.lines import Line2D
    return [Line2D([], [], color=COLORS[0], marker=MARKERS[0], label='mean over the tasks so far'),
            Line2D([], [], color=MUTED, ls='none', marker='_', ms=11, mew=1.8, label='the new task itself')]


def _has_upper(run: Run) -> bool:
    matrix = run.matrix
    upper = () if matrix is None else (value for i, row in enumerate(matrix.scores) for value in row[i + 1:])
    return matrix is not None and (matrix.zero_shot is not None or any(value is not None for value in upper))
