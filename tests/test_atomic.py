"""Files and folders appear whole or not at all."""

import json

import pytest

from coinkit import atomic


def test_json_is_written_and_replaced(tmp_path):
    path = tmp_path / 'deep' / 'a.json'
    atomic.write_json(path, {'x': 1})
    atomic.write_json(path, {'x': 2})
    assert json.loads(path.read_text()) == {'x': 2}
    assert [file.name for file in path.parent.iterdir()] == ['a.json']
    with pytest.raises(ValueError):
        atomic.write_json(path, {'x': float('nan')})
    assert json.loads(path.read_text()) == {'x': 2}


def test_a_folder_that_failed_half_way_is_not_there_and_the_old_one_is(tmp_path):
    with atomic.folder(tmp_path / 'a') as folder:
        (folder / 'x').write_text('old')
    with pytest.raises(RuntimeError), atomic.folder(tmp_path / 'a') as folder:
        (folder / 'x').write_text('new')
        raise RuntimeError('killed')
    assert (tmp_path / 'a' / 'x').read_text() == 'old'
    atomic.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['a']


def test_a_folder_replaces_an_older_one(tmp_path):
    for text in ('one', 'two'):
        with atomic.folder(tmp_path / 'a') as folder:
            (folder / text).write_text(text)
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['two']
