"""How figures look and how they become bytes: one style, no pyplot, no global state, the same bytes every time.

The user's matplotlibrc is not read; SVG ids come from a fixed salt and no date is written. Two colours are reserved so
that a page can restyle an inline SVG: `INK` for text and axes, `RULE` for grid lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = '#24292f'
RULE = '#d5dae0'
MUTED = '#8a939e'
# Okabe and Ito's colours, told apart with any colour vision; darkened yellow
COLORS = ('#0072b2', '#d55e00', '#009e73', '#b8559a', '#c88a00', '#3d9bd6', '#7a5c3e', '#6b6b6b')
MARKERS = 'osD^vPX*'
_ROUNDS: tuple[dict[str, Any], ...] = (  # when the colours come round: other markers, hollow, on another dash
    {'ls': '-'}, {'ls': (0, (4, 1.5)), 'mfc': 'none'}, {'ls': (0, (1, 1.2)), 'mfc': 'none'})
DPI = 150

_STYLE = {
    'font.family': 'DejaVu Sans', 'font.size': 9, 'text.color': INK, 'axes.labelcolor': INK, 'axes.edgecolor': RULE,
    'axes.titlesize': 9.5, 'axes.titleweight': 'bold', 'axes.spines.top': False, 'axes.spines.right': False,
    'axes.grid': True, 'axes.axisbelow': True, 'grid.color': RULE, 'grid.linewidth': 0.6, 'xtick.color': INK,
    'ytick.color': INK, 'xtick.major.size': 0, 'ytick.major.size': 0, 'xtick.labelsize': 8, 'ytick.labelsize': 8,
    'legend.frameon': False, 'legend.fontsize': 8.5, 'lines.linewidth': 1.8, 'lines.markersize': 4.5,
    'svg.hashsalt': 'coinkit', 'svg.fonttype': 'path', 'savefig.dpi': DPI,
}


def run_style(number: int) -> dict[str, Any]:
    """Colour, marker and dash of a run by its place, the same in every figure; none twice among 24 runs."""
    turn = number // len(COLORS)
    return {'color': COLORS[number % len(COLORS)], 'marker': MARKERS[(number + 3 * turn) % len(MARKERS)],
            **_ROUNDS[turn % len(_ROUNDS)]}


@contextmanager
def style() -> Iterator[None]:
    """The report's style and nothing else, for drawing and for saving."""
    import matplotlib
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches, laid out so that no label is cut."""
    from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout='constrained', facecolor='white')


def png_bytes(figure: Figure) -> bytes:
    out = io.BytesIO()
    with style():
        figure.savefig(out, format='png', metadata={'Software': None})
    return out.getvalue()


def svg_bytes(figure: Figure) -> bytes:
    out = io.BytesIO()
    with style():
        figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
    return out.getvalue()


def inline_svg(figure: Figure) -> str:
    """The `<svg>` element for an HTML page: transparent, text in the page's colour, scalable."""
    out = io.StringIO()
    with style():
        figure.savefig(out, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    svg = out.getvalue()
    svg = svg[svg.index('<svg'):]
    svg = svg.replace(INK, 'currentColor').replace(RULE, 'var(--rule)')
    for number, color in enumerate(COLORS):
        svg = svg.replace(color, f'var(--series-{number}, {color})')
    return svg


def plain(text: str) -> str:
    """Text that is not read as a formula."""
    return text.replace('$', r'\$')


def shorten(text: str, limit: int) -> str:
    """A long name with its middle left out."""
    if len(text) <= limit:
        return text
    head = (limit - 1) * 2 // 3
    return f'{text[:head]}…{text[len(text) - (limit - 1 - head):]}'
