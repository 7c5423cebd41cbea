"""Annotation files are read record by record: equal to json.load at any chunk size, and every broken file is one error."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coinkit.datasets.convert import reading
from coinkit.datasets.convert.reading import Record, elements, members
from coinkit.errors import DataError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                      max_leaves=6)
LAYOUTS = ({}, {'indent': 2}, {'separators': (',', ':')}, {'ensure_ascii': False})


def silent(count: int) -> None:
    pass


@pytest.fixture(params=[1, 7, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(reading, 'CHUNK_BYTES', request.param)
    return request.param


@example(value={'': 0.0, 'a': -1.5e-7, 'b': True}, layout={}, size=1)  # numbers that end where a chunk does
@settings(max_examples=30, deadline=None)
@given(value=st.dictionaries(st.text(), VALUES, max_size=5), layout=st.sampled_from(LAYOUTS), size=st.integers(1, 30))
def test_any_object_and_list_reads_as_json_loads_it(tmp_path_factory, value, layout, size):
    file = tmp_path_factory.mktemp('json') / 'a.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, 'CHUNK_BYTES', size)
        for given_value, read in ((value, lambda: dict(members(file, silent))),
                                  (list(value.values()), lambda: list(elements(file, silent))),
                                  ({**value, 'the list': [1, value]}, lambda: list(elements(file, silent, 'the list')))):
            file.write_bytes(json.dumps(given_value, **layout).encode('utf-8', 'surrogatepass'))
            try:
                wanted = json.loads(file.read_bytes())
            except UnicodeDecodeError:
                with pytest.raises(DataError, match='no UTF-8'):
                    read()
                continue
            assert read() == (wanted['the list'] if 'the list' in wanted else wanted)


def test_the_bytes_read_are_told(tmp_path, chunk):
    file, told = tmp_path / 'a.json', []
    file.write_text('\ufeff{"a": {"b": "ü"}}\n', 'utf-8')
    assert dict(members(file, told.append)) == {'a': {'b': 'ü'}}
    assert sum(told) == file.stat().st_size


def test_a_large_file_is_never_in_memory(tmp_path):
    file = tmp_path / 'a.json'
    record = json.dumps({'question': 'x' * 3000})
    file.write_text('{' + ','.join(f'"{number}": {record}' for number in range(3000)) + '}')
    tracemalloc.start()
    assert sum(1 for _ in members(file, silent)) == 3000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < file.stat().st_size / 2


@pytest.mark.parametrize(('content', 'message'), [
    (b'', 'it is cut short'), (b'{', 'cut short'), (b'{"a"', 'cut short'), (b'{"a": ', 'not valid JSON'),
    (b'{"a": {"b": 1', "at 'a': is not valid JSON"), (b'{"a": 1', 'cut short'), (b'{"a": 1,}', "'}' stands where"),
    (b'{"a": 1 "b": 2}', "stands where ','"), (b'{"a": 1}}', "'}' follows"), (b'{"a": 1}[', 'after its end'),
    (b'[1, 2]', 'holds a list; an object'), (b'{1: 2}', "'1' stands where"), (b'{"a": 1, "a": 2}', "has 'a' twice"),
    (b'{"a": {"b": 1, "b": 2}, "c": 1}', "at 'a': .* the key 'b' is there twice"),
    (b'{"a": nul}', 'not valid JSON'), (b'{"a": "\xff"}', 'no UTF-8 text near byte 7'), (b'\xff\xfe{\x00', 'no UTF-8'),
    (b'{"a": "\x00"}', 'not valid JSON'), (b'\x00\x00', 'not valid JSON')])
def test_a_broken_object_is_one_error_with_its_place(tmp_path, chunk, content, message):
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        list(members(file, silent))
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize('size', [7, 1 << 20])
def test_brackets_without_end_are_an_error_with_its_place(tmp_path, monkeypatch, size):
    monkeypatch.setattr(reading, 'CHUNK_BYTES', size)
    file = tmp_path / 'a.json'
    file.write_bytes(b'{"a": ' + b'[' * 100_000)
    with pytest.raises(DataError, match='nested too deep') as error:
        list(members(file, silent))
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize(('content', 'key', 'message'), [
    (b'{"a": 1}', '', 'holds an object; a list'), (b'[1, 2', '', 'cut short'), (b'[{"a": 1}, {"a":', '', 'at record 1'),
    (b'[1] x', '', "'x' follows"), (b'{"dat": []}', 'data', "has no list 'data'. Its keys: dat. Did you mean 'dat'"),
    (b'{"data": {}}', 'data', "at 'data': holds an object"), (b'[]', 'data', 'holds a list; an object')])
def test_a_broken_list_is_one_error_with_its_place(tmp_path, content, key, message):
    file = tmp_path / 'a.json'
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(elements(file, silent, key))


def test_a_missing_file_is_an_error_of_ours(tmp_path):
    with pytest.raises(DataError, match='cannot be read'):
        list(members(tmp_path / 'none.json', silent))


def test_fields_are_asked_for_by_type(tmp_path):
    record = Record({'a': 'x', 'n': 3, 'yes': True, 'many': [{'answer': 'p'}, 'q'], 'odd': [1]}, tmp_path / 'f.json', '7')
    assert (record.text('a'), record.number('n'), record.name_of('n'), record.texts('many')) == ('x', 3, '3', ['p', 'q'])
    for ask, message in ((lambda: record.text('b'), "record 7: has no 'b'. Its keys: a, n, yes, many, odd."),
                         (lambda: record.text('n'), "record 7: 'n' is 3; a text is wanted"),
                         (lambda: record.number('yes'), "'yes' is True; a whole number"),
                         (lambda: record.name_of('yes'), "'yes' is True; a text or"),
                         (lambda: record.texts('odd'), "'odd' holds 1; texts are wanted"),
                         (lambda: Record([], tmp_path, '0'), 'record 0 is a list')):
        with pytest.raises(DataError) as error:
            ask()
        assert message in str(error.value)
