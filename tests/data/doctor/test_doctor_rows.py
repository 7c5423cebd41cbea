"""Rows of a file: counted, hashed, and judged by the look that is given."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coinkit.data.doctor import rows as rows_module
from coinkit.data.doctor.needs import Look
from coinkit.data.doctor.rows import find_rows, look_at_samples, read_rows, row_at, twice
from coinkit.errors import DataError
from coinkit.types import Sample, Turn


def look(record):
    wrong = '' if 'q' in record else 'has no q.'
    return Look(str(record['id']), tuple(record.get('images', ())), record.get('q', ''), wrong,
                ('odd',) if record['id'] % 2 else ())


def write(path, records):
    path.write_text(json.dumps(records))
    return path


def read(path, **more):
    (_, rows), = read_rows([find_rows(path, look)], **more)
    return rows


def test_rows_are_counted_and_their_first_use_of_a_picture_is_kept(tmp_path):
    rows = read(write(tmp_path / 'a.json', [{'id': i, 'q': f'{i % 2}', 'images': [f'{i % 3}.png']} for i in range(10)]))
    assert rows.count == 10 and rows.images == {'0.png': 0, '1.png': 1, '2.png': 2}
    assert len(set(rows.ids)) == 10 and len(set(rows.questions)) == 2 and len(set(rows.asked)) == 6
    assert rows.num_notes == {'odd': 5} and rows.notes['odd'][0] == "record 1 (id '1')"


def test_wrong_rows_and_broken_json_are_told_and_the_others_are_read(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('{"id": 1, "q": "a", "images": ["x"]}\n{"id": 2}\n'
                    '{"id": 3, "q": }\n{"id": 4, "q": "b", "images": ["y"]}\n')
    rows = read(path)
    assert rows.count == 4 and rows.num_wrong == 2 and set(rows.images) == {'x', 'y'}
    assert [(row, name) for row, name, _ in rows.wrong] == [(1, '2'), (2, '')]
    assert 'not valid JSON' in rows.wrong[1][2]


def test_several_processes_tell_the_same_as_one(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.json', [{'id': i, 'q': str(i % 7), 'images': [f'{i % 5}']} for i in range(300)])
    alone = read(path)
    monkeypatch.setattr(rows_module, 'CHUNK_ROWS', 100)
    monkeypatch.setattr(rows_module, 'SPREAD_FROM', 10)
    monkeypatch.setattr(rows_module, '_found_by_name', lambda look: True)
    spread = read(path, workers=2)
    assert spread.count == alone.count and spread.images == alone.images and spread.notes == alone.notes
    for name in ('ids', 'questions', 'asked'):
        assert np.array_equal(getattr(spread, name), getattr(alone, name))


def test_a_look_of_no_importable_module_stays_in_this_process():
    assert rows_module._found_by_name(rows_module.find_rows)
    assert not rows_module._found_by_name(lambda record: Look('a'))


@pytest.mark.parametrize('text', ['', '[{"id": 1}, {"id"', 'hello'])
def test_a_file_without_rows_is_a_data_error(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(DataError, match=r'a\.json'):
        find_rows(tmp_path / 'a.json', look)


def test_equal_hashes_are_paired_with_the_first():
    assert twice(np.array([5, 7, 5, 9, 7, 5], np.uint64)) == [(0, 2), (1, 4), (0, 5)]
    assert twice(np.empty(0, np.uint64)) == []


def test_one_row_again(tmp_path):
    file = find_rows(write(tmp_path / 'a.json', [{'id': i, 'q': 'a'} for i in range(4)]), look)
    assert row_at(file, 2).id == '2'


def test_samples_are_rows_too():
    class Two:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return Sample(f's{index}', 't', (), (Turn('human', 'q'), Turn('gpt', 'a')))
    rows = look_at_samples(Two())
    assert rows.count == 2 and rows.questions[0] == rows.questions[1] and rows.ids[0] != rows.ids[1]
