"""Figures: they are drawn for every shape of analysis, their bytes do not change, and no global state is left."""

from __future__ import annotations

import re

import pytest

from coinkit.report.aggregate import aggregate, run_of_matrix
from coinkit.report.analysis import Analysis
from coinkit.report.canvas import inline_svg, png_bytes, shorten, svg_bytes
from coinkit.report.curves import comparison
from coinkit.report.figures import draw
from coinkit.report.heatmap import cell_color, contrast, heat_map
from coinkit.types import ScoreMatrix


def matrix(*tasks: str, drop: float = 10.0, zero: bool = True) -> ScoreMatrix:
    size = len(tasks)
    rows = tuple(tuple(max(0.0, 90 - drop * (i - j)) if j <= i else None for j in range(size)) for i in range(size))
    return ScoreMatrix(tasks, rows, (5.0,) * size if zero else None)


ONE = run_of_matrix('one', matrix('ScienceQA'))
THREE = run_of_matrix('three', matrix('a', 'b$c$', 'a task with a very long name indeed, longer than most'))
GAPS = run_of_matrix('gaps', ScoreMatrix(('a', 'b'), ((None, 20.0), (10.0, None))))
SEEDS = aggregate('seeds', [run_of_matrix(str(drop), matrix('a', 'b', drop=drop)) for drop in (10.0, 20.0)])
ORDERS = aggregate('orders', [run_of_matrix('x', matrix('a', 'b')), run_of_matrix('y', matrix('b', 'a'))])
EMPTY = run_of_matrix('empty', ScoreMatrix(('a', 'b'), ((None, None), (None, None))))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'runs', [(ONE,), (THREE,), (GAPS,), (SEEDS,), (ORDERS,), (EMPTY,), (THREE, SEEDS, ORDERS, ONE)],
    ids=lambda runs: '+'.join(run.name for run in runs))
def test_every_analysis_can_be_drawn(runs):
    drawings = draw(Analysis(runs))
    names = [drawing.name for drawing in drawings]
    assert len(set(names)) == len(names)
    assert 'average' in names and ('comparison' in names) == (len(runs) > 1)
    for drawing in drawings:
        assert png_bytes(drawing.figure).startswith(b'\x89PNG')


def test_bytes_are_the_same_every_time():
    def files():
        return {name: content for drawing in draw(Analysis((THREE,))) for name, content in drawing.files().items()}

    assert files() == files()
    assert set(files()) == {f'{name}.{suffix}' for name in ('matrix', 'forgetting', 'average')
                            for suffix in ('png', 'svg')}


def test_svg_has_no_date_and_nothing_from_outside():
    svg = svg_bytes(heat_map(THREE.matrix)).decode()
    assert '<dc:date>' not in svg
    assert not re.findall(r'(?:href|src)="(?!#)', svg)


def test_the_style_is_not_left_behind():
    import matplotlib
    before = dict(matplotlib.rcParams)
    svg_bytes(heat_map(ONE.matrix))
    assert dict(matplotlib.rcParams) == before


def test_the_users_style_is_not_taken():
    import matplotlib
    plain = png_bytes(heat_map(ONE.matrix))
    with matplotlib.rc_context({'font.size': 30, 'axes.facecolor': 'red'}):
        assert png_bytes(heat_map(ONE.matrix)) == plain


def test_inline_svg_takes_the_pages_colours():
    svg = inline_svg(draw(Analysis((THREE,)))[-1].figure)
    assert svg.startswith('<svg') and 'currentColor' in svg and 'var(--rule)' in svg and 'var(--series-0' in svg


def test_values_can_be_read_on_every_cell():
    """WCAG contrast of the text on its cell is at least 4.5 for every score."""
    def luminance(rgb):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    from matplotlib.colors import to_rgb
    for score in range(101):
        fill = cell_color(score)
        light, dark = sorted((luminance(fill[:3]), luminance(to_rgb(contrast(fill)))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, score


def test_bars_of_a_missing_metric():
    assert png_bytes(comparison([GAPS, THREE], ['ACC', 'BWT', 'FWT']))


def test_shorten():
    assert shorten('abcdef', 6) == 'abcdef'
    assert len(shorten('x' * 40, 24)) == 24
