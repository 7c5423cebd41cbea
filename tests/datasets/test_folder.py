"""A folder as a task."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from coinkit.datasets.folder import Folder
from coinkit.errors import ConfigError

TRAIN = {'id': 1, 'image': 'pictures/a.png', 'conversations': [{'from': 'human', 'value': '<image>\nwhat?'},
                                                               {'from': 'gpt', 'value': 'a ring'}]}
TEST = {'id': 2, 'image': 'pictures/a.png', 'text': 'what?', 'answer': 'a ring'}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'birds/pictures').mkdir(parents=True)
    Image.new('RGB', (4, 4), 'red').save(tmp_path / 'birds/pictures/a.png')
    (tmp_path / 'birds/train.jsonl').write_text(json.dumps(TRAIN))
    (tmp_path / 'birds/test.json').write_text(json.dumps([TEST]))
    return tmp_path


def test_both_splits_and_their_pictures(folder):
    train, test = (Folder('birds', split=split, root=str(folder), task='birds') for split in ('train', 'test'))
    assert (train[0].turns[-1].text, test[0].references, test[0].task) == ('a ring', ('a ring',), 'birds')
    assert train[0].images[0].load().size == (4, 4)
    assert [Folder.preflight(path='birds', split=split, root=str(folder)) for split in ('train', 'test')] == [[], []]


def test_what_is_missing_is_told(folder):
    (folder / 'birds/test.json').unlink()
    (folder / 'birds/pictures/a.png').unlink()
    [problem] = Folder.preflight(path='birds', split='test', root=str(folder))
    assert 'test.jsonl' in problem.where and 'test.json' in problem.message
    [problem] = Folder.preflight(path='birds', split='train', root=str(folder))
    assert "'pictures/a.png' (record 0)" in problem.message
    with pytest.raises(ConfigError, match="'test'|test, train"):
        Folder('birds', split='val', root=str(folder))
