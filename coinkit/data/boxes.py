"""Pixel boxes as parts of a picture, or of the picture padded to a square: what grounding rows and their scorers hold."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]


def expand_box(box: Sequence[float], width: float, height: float) -> Box:
    """An xywh pixel box as xyxy in 0..1 on the centred square that the image is padded to."""
    x, y, w, h = box
    side = max(width, height)
    left, top = (side - width) / 2, (side - height) / 2
    return ((x + left) / side, (y + top) / side, (x + w + left) / side, (y + h + top) / side)


def relative_box(box: Sequence[float], width: float, height: float) -> Box:
    """An xywh pixel box as xyxy in 0..1 of the picture itself."""
    x, y, w, h = box
    return (x / width, y / height, (x + w) / width, (y + h) / height)


def box_text(box: Sequence[float], decimals: int = 2) -> str:
    """`[x1,y1,x2,y2]`; two decimals are what the published parser reads."""
    return '[' + ','.join(f'{min(max(value, 0.0), 1.0):.{decimals}f}' for value in box) + ']'
