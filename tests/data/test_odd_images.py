"""Pictures that are odd but right, pictures that are wrong in any way, and paths that lead elsewhere."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coinkit.data.images import MAX_ASPECT, MAX_SIDE, FileImage
from coinkit.errors import BadImage

RED, GREEN = (255, 0, 0), (0, 128, 0)


def written(folder: Path, name: str, image: Image.Image, **options) -> FileImage:
    image.save(folder / name, **options)
    return FileImage(name, str(folder))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header says so; there are no such pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0')) + chunk(b'IEND', b'')


# --- odd, and read as Image.open(...).convert('RGB') reads them ---------------------------------------------------


def cmyk(folder: Path) -> FileImage:
    return written(folder, 'cmyk.jpg', Image.new('CMYK', (8, 8), (0, 255, 255, 0)), quality=100)


def palette(folder: Path) -> FileImage:
    image = Image.new('P', (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    return written(folder, 'palette.png', image, transparency=bytes([255, 0]))  # its one colour is transparent


def transparent(folder: Path) -> FileImage:
    return written(folder, 'transparent.png', Image.new('RGBA', (8, 8), (*RED, 0)))


def animated(folder: Path) -> FileImage:
    more = [Image.new('RGB', (8, 8), GREEN)]
    return written(folder, 'animated.gif', Image.new('RGB', (8, 8), RED), save_all=True, append_images=more)


def one_pixel(folder: Path) -> FileImage:
    return written(folder, 'one.png', Image.new('RGB', (1, 1), RED))


def misnamed(folder: Path) -> FileImage:
    return written(folder, 'png.jpg', Image.new('RGB', (8, 8), RED), format='PNG')


@pytest.mark.parametrize('make', [cmyk, palette, transparent, animated, one_pixel, misnamed])
def test_an_odd_picture_is_read(tmp_path, make: Callable[[Path], FileImage]):
    source = make(tmp_path)
    image = source.load()
    assert image.mode == 'RGB' and image.size == source.size
    assert np.allclose(image.getpixel((0, 0)), RED, atol=4)


def test_grey_of_16_bits_is_cut_at_255(tmp_path):
    source = written(tmp_path, 'grey.png', Image.fromarray(np.array([[7, 255, 256, 65535]], np.uint16)))
    assert [source.load().getpixel((x, 0))[0] for x in range(4)] == [7, 255, 255, 255]


def test_a_rotation_in_the_exif_data_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    source = written(tmp_path, 'turned.jpg', Image.new('RGB', (8, 4)), exif=exif)
    assert source.load().size == source.size == (8, 4)


# --- wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', [(30_000, 30_000), (12_000, 12_000), (10_000, 9_000), (1, MAX_ASPECT + 1),
                                  (MAX_SIDE + 1, 1000), (2**31 - 1, 2**31 - 1), (0, 5)])
@pytest.mark.parametrize('strict', [False, True])
def test_a_size_beyond_the_limits_is_refused_by_its_header(tmp_path, size: tuple[int, int], strict: bool):
    (tmp_path / 'large.png').write_bytes(png_of_size(*size))
    source = FileImage('large.png', str(tmp_path))
    for read in (source.load, lambda: source.size):
        with warnings.catch_warnings():
            warnings.simplefilter('error' if strict else 'ignore')
            with pytest.raises(BadImage, match='large.png'):
                read()


@pytest.mark.parametrize('size', [(1, MAX_ASPECT), (MAX_SIDE, 100), (9_459, 9_459)])
def test_the_limits_themselves_are_allowed(tmp_path, size: tuple[int, int]):
    (tmp_path / 'large.png').write_bytes(png_of_size(*size))
    assert FileImage('large.png', str(tmp_path)).size == size


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.png').mkdir()
    (tmp_path / 'a.png').symlink_to('b.png')
    (tmp_path / 'b.png').symlink_to('a.png')
    (tmp_path / 'dangling.png').symlink_to('nowhere.png')
    for name, words in (('pipe.png', 'is not a file'), ('folder.png', 'is not a file'), ('.', 'is not a file'),
                        ('', 'is not a file'), ('a.png', 'symbolic links'), ('dangling.png', 'no such image'),
                        ('nul\0.png', 'null'), ('long' * 100 + '.png', 'too long'), ('half\ud800.png', 'surrogates')):
        with pytest.raises(BadImage, match=words):
            FileImage(name, str(tmp_path)).load()


KINDS = {'png': {}, 'jpg': {}, 'gif': {}, 'bmp': {}, 'webp': {}, 'tif': {'compression': 'tiff_lzw'}, 'ppm': {}}


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (16, 12, 3), np.uint8)
    out = io.BytesIO()
    formats = {'jpg': 'JPEG', 'tif': 'TIFF'}
    Image.fromarray(noise).save(out, formats.get(kind, kind.upper()), **KINDS[kind])
    return out.getvalue()


@pytest.mark.filterwarnings('ignore')  # of Pillow's, about odd metadata
@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_with_its_name(tmp_path_factory, kind: str, data):
    raw = bytearray(encoded(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw), 80) - 1) | st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[:data.draw(st.integers(0, len(raw)))]
    path = tmp_path_factory.getbasetemp() / f'damaged.{kind}'
    path.write_bytes(raw)
    source = FileImage(path.name, str(path.parent))
    for read in (source.load, lambda: source.size):
        try:
            read()
        except BadImage as error:
            assert path.name in str(error)


# --- elsewhere ----------------------------------------------------------------------------------------------------


def test_links_are_followed_and_the_text_of_a_path_decides(tmp_path):
    outside, root = tmp_path / 'disk' / 'coco', tmp_path / 'root'
    outside.mkdir(parents=True)
    root.mkdir()
    for place, colour in ((outside / 'a.png', RED), (tmp_path / 'disk' / 'secret.png', GREEN)):
        Image.new('RGB', (2, 2), colour).save(place)
    (root / 'coco').symlink_to(outside)
    (root / 'b.png').symlink_to(outside / 'a.png')
    for path in ('coco/a.png', 'b.png', './coco/a.png'):
        assert FileImage(path, str(root)).load().getpixel((0, 0)) == RED
    with pytest.raises(BadImage, match='no such image'):  # what lies beside the link's target is not in the root
        FileImage('coco/../secret.png', str(root)).load()
    for path in ('../disk/coco/a.png', str(outside / 'a.png'), 'coco/../../disk/coco/a.png'):
        with pytest.raises(BadImage, match='leads out of the image root'):
            FileImage(path, str(root))
