"""Plug-in state on disk: every nesting comes back, nothing is pickled."""

import pytest
import torch

from coinkit.engine import blobs


def test_nested_values_come_back(tmp_path):
    value = {'count': 3, 'name': 'x', 'none': None, 'flags': [True, False],
             'fisher': {'a.b': torch.arange(4.0), 'deep': [torch.ones(2, 2), {'t': torch.tensor(7)}]}}
    blobs.save(tmp_path, 'methods', value)
    back = blobs.load(tmp_path, 'methods')
    assert back['count'] == 3 and back['flags'] == [True, False] and back['none'] is None
    assert torch.equal(back['fisher']['a.b'], torch.arange(4.0))
    assert torch.equal(back['fisher']['deep'][0], torch.ones(2, 2))
    assert back['fisher']['deep'][1]['t'].item() == 7


def test_equal_values_give_equal_bytes(tmp_path):
    for name in ('a', 'b'):
        blobs.save(tmp_path, name, {'x': torch.arange(3), 'y': [torch.zeros(2)]})
    assert (tmp_path / 'a.safetensors').read_bytes() == (tmp_path / 'b.safetensors').read_bytes()


def test_views_of_one_tensor_are_both_written(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    blobs.save(tmp_path, 'views', {'row': base[0], 'column': base[:, 1], 'whole': base})
    back = blobs.load(tmp_path, 'views')
    assert torch.equal(back['row'], base[0]) and torch.equal(back['column'], base[:, 1])


def test_what_cannot_be_stored_is_named():
    with pytest.raises(TypeError, match='a/b.*set'):
        blobs.split({'a': {'b': {1}}}, {})
