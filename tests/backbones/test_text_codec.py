"""Damaged tokenizer files: each is named, and none is read as another vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from coinkit.backbones.text_codec import read_codec
from coinkit.errors import ConfigError

MODEL = Path(__file__).parents[1] / 'golden' / 'tokenizer_llama_tiny' / 'tokenizer.model'
POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:9e55\nsize 499723\n'


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with tokenizer.model, as Vicuna's."""
    shutil.copy(MODEL, tmp_path)
    (tmp_path / 'tokenizer_config.json').write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
    return tmp_path


@pytest.fixture
def hub_folder(folder) -> Path:
    """The same tokenizer in one JSON file."""
    codec = read_codec(folder)
    (folder / 'tokenizer.model').unlink()
    codec.save(folder)
    return folder


def error_of(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_codec(folder)
    return str(caught.value)


def end_of_piece(content: bytes, number: int) -> int:
    place = 0
    for _ in range(number):
        place += 2 + content[place + 1]  # every piece here is shorter than 128 bytes
    return place


@pytest.mark.parametrize('cut', [0, 1, 400, 4321])
def test_a_cut_model(folder, cut):
    (folder / 'tokenizer.model').write_bytes(MODEL.read_bytes()[:cut])
    assert 'tokenizer.model: is cut short, or no tokenizer. Copy it again.' in error_of(folder)


@pytest.mark.parametrize('pieces', [1, 300, 562])
def test_a_model_cut_between_two_pieces(folder, pieces):
    """The library reads it without a word."""
    content = MODEL.read_bytes()
    (folder / 'tokenizer.model').write_bytes(content[:end_of_piece(content, pieces)])
    assert 'tokenizer.model: is cut short' in error_of(folder)


def test_a_pointer_in_place_of_the_model(folder):
    (folder / 'tokenizer.model').write_bytes(POINTER)
    assert 'tokenizer.model: is a Git LFS pointer, not the tokenizer itself. Copy it again.' in error_of(folder)


def test_a_model_of_another_kind(folder):
    (folder / 'tokenizer.model').write_bytes(b'\x0a\x03abc\x99\x99\x99')
    assert 'tokenizer.model: is no tokenizer. Copy it again.' in error_of(folder)


@pytest.mark.parametrize('name', ['tokenizer_config.json', 'tokenizer.json'])
def test_a_cut_json_file(hub_folder, name):
    whole = (hub_folder / name).read_text()
    for kind in ('LlamaTokenizer', 'PreTrainedTokenizerFast'):
        (hub_folder / 'tokenizer_config.json').write_text(json.dumps({'tokenizer_class': kind, 'legacy': False}))
        (hub_folder / name).write_text(whole[:len(whole) // 2])
        assert f'{name}: is not JSON' in error_of(hub_folder) and 'cut short' in error_of(hub_folder)


@pytest.mark.parametrize('kind', ['LlamaTokenizer', 'PreTrainedTokenizerFast'])
def test_a_json_file_that_is_no_tokenizer(hub_folder, kind):
    (hub_folder / 'tokenizer_config.json').write_text(json.dumps({'tokenizer_class': kind, 'legacy': False}))
    (hub_folder / 'tokenizer.json').write_text('{}')
    assert 'tokenizer.json: is no tokenizer (' in error_of(hub_folder)
