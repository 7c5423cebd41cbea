"""Runs beside each other in one figure are told apart."""

from coinkit.report.canvas import run_style


def test_no_style_comes_twice_among_twenty_four_runs():
    styles = [run_style(number) for number in range(24)]
    assert len({(style['color'], style['marker']) for style in styles}) == 24
    assert len({(style['color'], style['ls']) for style in styles}) == 24
