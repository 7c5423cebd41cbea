"""Pictures on disk, opened only when a worker needs them, and what to do with one that cannot be opened.

`FileImage.load` runs in the engine's worker threads; whatever is wrong with a file becomes a `BadImage` that names it,
and the loader asks a `BadImagePolicy` what happens to the sample.

What is read: Pillow's `Image.open(file).convert('RGB')` and nothing more, as the published LLaVA and CoIN code does. So an
EXIF rotation is not applied, an animation is its first frame, transparency is dropped, and of grey with 16 bits values above
255 are white. Where is read: inside the image root by the path's text. A path that is absolute or climbs out with '..'
is refused; links are followed wherever they lead, since data folders often are links. A loop of links, a file that is
no file and a picture beyond the limits below are bad pictures; the limits are looked up in the header.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from coinkit.errors import BadImage, ConfigError, unknown
from coinkit.types import IMAGE_TAG, ImageSource, Sample

MAX_PIXELS = 89_478_485  # Pillow's own warning level; more is taken for a decompression bomb
MAX_SIDE = 16_384  # pixels: a strip is padded to a square of its longer side
MAX_ASPECT = 200  # times longer than wide: a strip's shorter side is scaled to the model's
POLICIES = ('error', 'skip', 'text_only')


@dataclass(frozen=True, slots=True)
class FileImage:
    """A picture file as an ImageSource; `path` is relative to `root` and may not leave it."""

    path: str
    root: str = ''

    def __post_init__(self) -> None:
        if os.path.isabs(self.path) or os.path.normpath(self.path).split(os.sep)[0] == os.pardir:
            raise BadImage(f"image '{self.path}': leads out of the image root '{self.root}'; give a path inside it.")

    @property
    def file(self) -> str:
        return os.path.join(self.root, _by_its_text(self.path))

    @property
    def key(self) -> str:
        return self.file

    @property
    def size(self) -> tuple[int, int]:
        with self._opened() as image:
            return image.size

    def load(self) -> Image.Image:
        with self._opened() as image:
            return image.convert('RGB')

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        """The file's header; pixels are decoded inside, when they are asked for."""
        try:
            if not stat.S_ISREG(os.stat(self.file).st_mode):  # a pipe would be waited for
                raise BadImage(f'{self.file}: is not a file. Check the path.')
            with Image.open(self.file) as image:
                self._check_size(image)
                yield image
        except BadImage:
            raise
        except FileNotFoundError as error:
            raise BadImage(f'{self.file}: there is no such image. Check image_root and that the archive '
                           'is unpacked.') from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise BadImage(f'{self.file}: {error} Up to {MAX_PIXELS:,} pixels are read; scale it down.') from error
        except Exception as error:  # a damaged file leads Pillow's decoders to errors of any kind
            raise BadImage(f'{self.file}: cannot be decoded ({error}). Download it again.') from error

    def _check_size(self, image: Image.Image) -> None:
        short, long = sorted(image.size)
        if short < 1:
            raise BadImage(f'{self.file}: has {image.width} x {image.height} pixels.')
        if image.width * image.height > MAX_PIXELS or long > MAX_SIDE or long > MAX_ASPECT * short:
            raise BadImage(f'{self.file}: has {image.width} x {image.height} pixels; up to {MAX_PIXELS:,} are read, '
                           f'{MAX_SIDE:,} a side, and a side of up to {MAX_ASPECT} times the other. Scale or cut it.')


def _by_its_text(path: str) -> str:
    """Without '..': behind a link to another place it would lead out of the root, where the text does not."""
    return os.path.normpath(path) if os.pardir in path else path


def image_size(source: ImageSource) -> tuple[int, int]:
    """Width and height; not decoded where the source has a `size` of its own."""
    size = getattr(source, 'size', None)
    return source.load().size if size is None else size


def missing_images(paths: Iterable[str], root: str | Path) -> list[str]:
    """Those of `paths` (relative to `root`) that do not exist, in the order given."""
    return [path for path in paths if not os.path.exists(os.path.join(root, _by_its_text(path)))]


def pad_to_square(image: Image.Image, fill: tuple[int, int, int]) -> Image.Image:
    """The picture centred on a square of its longer side; an odd border is one pixel wider at the right or bottom."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new('RGB', (side, side), fill)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def without_tags(text: str) -> str:
    """The text without image tags; between words a line break is left."""
    return '\n'.join(part.strip() for part in text.split(IMAGE_TAG)).strip() if IMAGE_TAG in text else text


def without_pictures(sample: Sample) -> Sample:
    """The sample without its pictures and without the tags that mark their places."""
    turns = tuple(replace(turn, text=without_tags(turn.text)) for turn in sample.turns)
    return replace(sample, images=(), turns=turns)


class BadImagePolicy:
    """Decides what happens to a sample whose picture cannot be opened, and counts.

    The loader wraps encoding, in any thread:

        try:
            encoded = backbone.encode(sample, training=True)
        except BadImage as error:
            sample = policy.resolve(sample, error)     # raises, or None: leave it out, or the sample without pictures
            encoded = sample and backbone.encode(sample, training=True)

    `skipped` and `stripped` count samples left out and kept without pictures, `first` holds the first few messages; a
    run reports them (`report()`), so that a shrunken data set is never silent.
    """

    KEEP = 10

    def __init__(self, policy: str = 'error'):
        if policy not in POLICIES:
            raise ConfigError(unknown('data: on_bad_image', 'policy', policy, POLICIES))
        self.policy, self.skipped, self.stripped = policy, 0, 0
        self.first: list[str] = []
        self._lock = threading.Lock()

    def resolve(self, sample: Sample, error: BadImage) -> Sample | None:
        """The sample to use instead, None to leave it out; raises under 'error', naming record and file."""
        message = f"record '{sample.id}' of {sample.task or 'the data set'}: {error}"
        if self.policy == 'error':
            raise BadImage(f"{message} Or set on_bad_image='skip'.") from error
        with self._lock:
            self.skipped += self.policy == 'skip'
            self.stripped += self.policy == 'text_only'
            if len(self.first) < self.KEEP:
                self.first.append(message)
        return None if self.policy == 'skip' else without_pictures(sample)

    def resume(self, counters: Mapping[str, Any]) -> None:
        """Go on counting from an earlier `report`."""
        with self._lock:
            self.skipped, self.stripped = counters['skipped'], counters['stripped']
            self.first = list(counters['first'])

    def report(self) -> dict[str, Any]:
        """Counts and first messages, for run records."""
        with self._lock:
            return {'policy': self.policy, 'skipped': self.skipped, 'stripped': self.stripped, 'first': self.first[:]}
