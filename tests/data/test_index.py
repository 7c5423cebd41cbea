"""The index against json.load: every record, any chunk size, any formatting; wrong files are named with their place."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.data import index as index_module
from coinkit.data.index import SUFFIX, Survey, nothing_stored, open_index
from coinkit.data.scan import find_records
from coinkit.errors import DataError

NASTY = st.text(st.sampled_from('ab"\\{}[],: \n\té\u2028\U0001f600/'), max_size=12)
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | NASTY, max_leaves=8, extend=lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3)))
RECORDS = st.lists(st.dictionaries(NASTY, VALUES, max_size=4), max_size=8)
ROWS = [{'id': i, 'text': f'a "quoted" {{brace}} \\ [{i}] é'} for i in range(50)]


@pytest.fixture
def array(tmp_path):
    path = tmp_path / 'rows.json'
    path.write_text(json.dumps(ROWS, indent=1))
    return path


def parsed(data: bytes, chunk_bytes: int) -> list:
    return [json.loads(data[start:end]) for start, end in find_records('rows.json', data, chunk_bytes=chunk_bytes)]


@settings(max_examples=150, deadline=None)
@given(RECORDS, st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
def test_spans_of_an_array_are_those_json_sees(records, chunk_bytes, indent, ascii_only, bom):
    data = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode()
    assert parsed((b'\xef\xbb\xbf' if bom else b'') + b' \n' + data + b'\r\n', chunk_bytes) == records


@settings(max_examples=60, deadline=None)
@given(RECORDS.filter(bool), st.integers(1, 40), st.sampled_from(['\n', '\r\n', '\n\n \t\n']), st.booleans())
def test_spans_of_lines_are_those_json_sees(records, chunk_bytes, newline, ended):
    data = newline.join(json.dumps(record) for record in records) + newline * ended
    assert parsed(data.encode(), chunk_bytes) == records


def test_records_by_position(array):
    index = open_index(array)
    assert len(index) == 50
    assert [index.record(i) for i in (49, 0, 17)] == [ROWS[49], ROWS[0], ROWS[17]]
    assert array.read_bytes()[index.offset(3):].startswith(b'{')
    with pytest.raises(IndexError, match='holds 50 records'):
        index.record(50)


def test_a_stored_index_is_used_until_the_file_changes(array, monkeypatch):
    digest = open_index(array).digest
    monkeypatch.setattr(index_module, 'find_records', lambda *_: pytest.fail('built again'))
    assert open_index(array).digest == digest
    monkeypatch.undo()
    array.write_text(json.dumps(ROWS[:3]))
    assert len(open_index(array)) == 3
    assert open_index(array).digest != digest


@pytest.mark.parametrize('damage', [lambda b: b[:40], lambda b: b[:-5], lambda b: b'', lambda b: b'{}' + b[2:]])
def test_a_damaged_index_is_built_again(array, damage):
    survey = Survey('ids', lambda records: {'ids': [r['id'] for r in records]})
    open_index(array, survey=survey)
    stored = array.with_name(array.name + SUFFIX)
    stored.write_bytes(damage(stored.read_bytes()))
    index = open_index(array, survey=survey)
    assert index.finding('ids') == list(range(50))
    assert index.record(49) == ROWS[49]


def test_a_survey_sees_every_record_once_and_is_kept_by_name(array):
    runs = []
    survey = Survey('ids/1', lambda records: runs.append(1) or {'ids': [r['id'] for r in records]})
    assert open_index(array, survey=survey).finding('ids') == list(range(50))
    assert open_index(array, survey=survey).finding('ids') == list(range(50))
    open_index(array, survey=survey._replace(name='ids/2'))
    assert len(runs) == 2


def test_a_folder_that_cannot_be_written_uses_the_cache(array, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    real = index_module._replace

    def refuse(place, content):
        if place.parent == array.parent:
            raise PermissionError('read-only')
        real(place, content)

    monkeypatch.setattr(index_module, '_replace', refuse)
    open_index(array)
    assert not array.with_name(array.name + SUFFIX).exists()
    assert len(list((tmp_path / 'cache/coinkit/index').iterdir())) == 1
    monkeypatch.setattr(index_module, 'find_records', lambda *_: pytest.fail('built again'))
    assert open_index(array).record(1) == ROWS[1]


def test_an_index_that_can_be_stored_nowhere_still_works_and_says_so(array, monkeypatch, caplog):
    monkeypatch.setattr(index_module, '_replace', lambda *_: (_ for _ in ()).throw(PermissionError('read-only')))
    assert open_index(array).record(1) == ROWS[1]
    assert 'built at every start' in caplog.text


def _open_and_read(path):
    index = open_index(path)
    return [index.record(i)['id'] for i in range(len(index))]


def test_several_processes_may_open_a_file_for_the_first_time_at_once(array):
    with multiprocessing.get_context('spawn').Pool(4) as pool:
        answers = pool.map(_open_and_read, [array] * 12, chunksize=1)
    assert answers == [list(range(50))] * 12
    assert sorted(p.name for p in array.parent.iterdir()) == ['rows.json', 'rows.json' + SUFFIX]
    assert stat.S_IMODE(os.stat(array.with_name(array.name + SUFFIX)).st_mode) == 0o644


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'is empty'),
    (b' \n', 'is empty'),
    (b'[{"id": 1}, {"id": 2', 'inside record 1, which starts at byte 12'),
    (b'[{"id": 1}, {"id": "2}]', 'inside record 1, which starts at byte 12'),
    (b'[{"id": 1}, {"id": 2}', "after 2 records without a closing"),
    (b'[{"id": 1}, ', 'after 1 records without a closing'),
    (b'[{"id": 1} {"id": 2}]', 'at byte 10, before record 1'),
    (b'[{"id": 1},, {"id": 2}]', 'at byte 10, before record 1'),
    (b'[{"id": 1},]', 'at byte 10, before record 1'),
    (b'[1, {"id": 1}]', "at byte 1, before record 0, stands b'1,'"),
    (b'[{"id": 1}, [{"id": 2}]]', 'before record 1'),
    (b'["text"]', 'before record 0'),
    (b'[{"id": 1}] x', 'more after the closing'),
    (b'[{"id": 1]}]', 'brackets do not match|not valid JSON|more after'),
    (b'"text"', 'a JSON array'),
    (b'\xff\xfe[\x00', 'UTF-16'),
])
def test_a_wrong_array_is_named_with_its_place(tmp_path, content, message):
    path = tmp_path / 'rows.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_index(path).record(0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(('content', 'message'), [
    (b'[{"id": 1}, {"id": 2,}]', r'record 1 \(at byte 12\) is not valid JSON'),
    (b'{"id": 1}\n[2]\n', r'record 1 \(at byte 10\) is a list'),
    (b'{"id": 1}\n{"id": \n', r'record 1 \(at byte 10\) is not valid JSON'),
    (b'{\n "id": 1\n}\n', r'first line \(at byte 0\) does not end with'),
    (b'\n{"0": {"id": 1},\n "1": {"id": 2}}', r'first line \(at byte 1\) does not end with'),
    (b'[{"id": "\xe9"}]', r'record 0 \(at byte 1\) is not valid JSON'),
])
def test_a_wrong_record_is_named_when_the_index_is_built(tmp_path, content, message):
    path = tmp_path / 'rows.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_index(path, survey=Survey('all', lambda records: {'n': len(list(records))}))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match='cannot be read .*data.root'):
        open_index(tmp_path / 'absent.json')


def test_an_empty_array_has_no_records(tmp_path):
    (tmp_path / 'rows.json').write_text('[ ]')
    assert len(open_index(tmp_path / 'rows.json')) == 0


def test_looking_without_touching_writes_no_index(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('[{"id": 1}]')
    with nothing_stored():
        assert open_index(path).record(0) == {'id': 1}
    assert list(tmp_path.iterdir()) == [path]
    open_index(path)
    assert len(list(tmp_path.iterdir())) == 2
