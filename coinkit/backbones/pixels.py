"""Pictures to pixels exactly as the published backbones do it, with Pillow and numpy alone.

Make the picture square ('pad' it in the mean colour or 'crop' its centre as LLaVA-1.5, 'stretch' it as Qwen-VL and
MiniGPT-v2), resize bicubically, scale to 0..1 and normalise.
A pixel has 256 values, so scaling and normalising are one table look-up: the same float32 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ASPECT_RATIOS = ('pad', 'crop', 'stretch')


@dataclass(frozen=True)
class PixelReader:
    """Turns a picture into float32 (3, side, side). 'pad' loses nothing, 'crop' the borders, 'stretch' the shape."""

    side: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    aspect_ratio: str = 'pad'
    table_3x256: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = (np.arange(256) * (1 / 255)).astype(np.float32)
        mean, std = np.array(self.mean, np.float32)[:, None], np.array(self.std, np.float32)[:, None]
        object.__setattr__(self, 'table_3x256', (values - mean) / std)

    def __call__(self, image: Image.Image) -> Tensor:
        image = image.convert('RGB')
        if self.aspect_ratio == 'stretch':
            image = resized(image, (self.side, self.side))
        elif self.aspect_ratio == 'pad':
            image = self.pad_to_square(image)
        pixels_HW3 = np.asarray(center_crop(resize_shortest(image, self.side), self.side))
        return torch.from_numpy(np.stack([self.table_3x256[c][pixels_HW3[..., c]] for c in range(3)]))

    def pad_to_square(self, image: Image.Image) -> Image.Image:
        """The picture in the middle of a square of the mean colour."""
        side = max(image.size)
        if image.size == (side, side):
            return image
        square = Image.new('RGB', (side, side), tuple(int(255 * value) for value in self.mean))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square


def resize_shortest(image: Image.Image, side: int) -> Image.Image:
    """Bicubic, shortest edge to `side`, the other edge rounded down."""
    short = min(image.size)
    if short == side:
        return image
    width, height = (side if edge == short else int(side * edge / short) for edge in image.size)
    return resized(image, (width, height))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def center_crop(image: Image.Image, side: int) -> Image.Image:
    if image.size == (side, side):
        return image
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def pixel_reader(side: int, *, card: Mapping[str, Any], aspect_ratio: str) -> PixelReader:
    """The reader of a checkpoint; `card` is its coinkit.json or preprocessor_config.json, {} where it has none."""
    mean, std = card.get('image_mean', CLIP_MEAN), card.get('image_std', CLIP_STD)
    return PixelReader(side, tuple(mean), tuple(std), aspect_ratio)
