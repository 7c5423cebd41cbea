"""Adapter folders: equal bits back, equal bytes for equal contents, and damage noticed."""

from __future__ import annotations

import json

import pytest
import torch

from coinkit.errors import DataError
from coinkit.nn.adapter_folder import join_tensors, load_adapter, read_card, save_adapter, split_tensors

CARD = {'bank': None, 'trained': ['p.weight'], 'task': 'OCR-VQA', 'stage': 8, 'backbone': {'type': 'Llava'}}


def tensors():
    generator = torch.Generator().manual_seed(0)
    bank = {'l.a.A': torch.randn(2, 3, generator=generator), 'l.a.B': torch.randn(2, 3, generator=generator).t()}
    return join_tensors(bank, {'p.weight': torch.randn(4, generator=generator).to(torch.bfloat16)})


def test_round_trip_is_bit_equal(tmp_path):
    written = save_adapter(tmp_path / 'adapter', tensors(), CARD)
    loaded, card = load_adapter(tmp_path / 'adapter')
    assert card == written == read_card(tmp_path / 'adapter') and card['schema'] == 'coinkit.adapter/1'
    assert loaded.keys() == tensors().keys()
    assert all(torch.equal(loaded[name], value) for name, value in tensors().items())
    assert all(loaded[name].dtype == value.dtype for name, value in tensors().items())
    bank, model = split_tensors(loaded)
    assert set(bank) == {'l.a.A', 'l.a.B'} and set(model) == {'p.weight'}


def test_equal_contents_give_equal_bytes(tmp_path):
    save_adapter(tmp_path / 'one', tensors(), CARD)
    save_adapter(tmp_path / 'two', dict(reversed(tensors().items())), CARD)
    for name in ('adapter.safetensors', 'card.json'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / 'one').iterdir()) == ['adapter.safetensors', 'card.json']


def test_damage_is_named(tmp_path):
    with pytest.raises(DataError, match=r'card\.json: cannot be read'):
        load_adapter(tmp_path)
    save_adapter(tmp_path, tensors(), CARD)
    path = tmp_path / 'adapter.safetensors'
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match='does not match card.json'):
        load_adapter(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r'adapter\.safetensors: cannot be read'):
        load_adapter(tmp_path)
    (tmp_path / 'card.json').write_text(json.dumps({'schema': 'other/1'}))
    with pytest.raises(DataError, match="schema 'other/1' is not 'coinkit.adapter/1'"):
        read_card(tmp_path)
    (tmp_path / 'card.json').write_text('{')
    with pytest.raises(DataError, match='not JSON'):
        read_card(tmp_path)
    with pytest.raises(DataError, match="'odd' begins with neither"):
        split_tensors({'odd': torch.zeros(1)})
