"""Any bytes as a data file: exactly what `json` makes of them, or an error of ours that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coinkit.data import index as index_module
from coinkit.data.index import SUFFIX, Survey, open_index
from coinkit.datasets.instruction_rows import SURVEY
from coinkit.errors import DataError

quick = settings(max_examples=300, deadline=None, derandomize=True, database=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = [{'id': 1, 'text': 'a "q" \\ [x] {y} é\n', 'n': [1.5, None, True, {'deep': [[]]}]}, {},
        {'id': '2', 'conversations': [{'from': 'human', 'value': '<image>\U0001f600'}, {'from': 'gpt', 'value': 'A'}]}]
VALID = [json.dumps(ROWS).encode(), json.dumps(ROWS, indent=1, ensure_ascii=False).encode(),
         b'\xef\xbb\xbf' + '\r\n'.join(map(json.dumps, ROWS)).encode(), '\n'.join(map(json.dumps, ROWS)).encode() + b'\n\n']
PIECES = [b'{', b'}', b'[', b']', b'"', b'\\', b',', b':', b'\0', b'\n', b'\r', b' ', b'\xff', b'\xed\xa0\x80',
          b'\xef\xbb\xbf', b'\\ud83d', b'"id"', b'1', b'NaN', b'1e999', b'null', b'\x0b', b'\xe2\x80\xa8']


@pytest.fixture
def unstored(monkeypatch) -> None:
    """Indexes are not written: hundreds of fsyncs take longer than all the rest."""
    monkeypatch.setattr(index_module, '_store', lambda *_: None)


def by_json(raw: bytes) -> list | None:
    """The records as `json` sees them, array or lines; None where it is no list of objects."""
    try:
        text = raw.decode('utf-8-sig')
        if text.lstrip(' \t\r\n').startswith('['):
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.split('\n') if line.strip(' \t\r\n')]
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(record, dict) for record in found) else None


def ours(path: Path) -> list | None:
    """The same by the index; None for an error, which must name the file."""
    try:
        index = open_index(path, survey=Survey('count', lambda records: {'count': len(list(records))}))
        assert index.finding('count') == len(index)
        return [index.record(i) for i in range(len(index))]
    except DataError as error:
        assert str(error).startswith(str(path)), error
        return None


KEYS = ['id', 'question_id', 'image', 'text', 'answer', 'answers', 'answer_bbox', 'conversations', 'from', 'value',
        'choices']


def check(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    found, expected = ours(path), by_json(raw)
    if found is not None:
        assert repr(found) == repr(expected), raw  # repr: NaN is not itself
    elif expected:  # what json reads and we refuse: a key twice, half a character, a first line that ends inside an object
        twice_or_half = repr(expected) != repr(strict(raw)) or '\\ud' in repr(expected)
        assert twice_or_half, (raw, expected)


def strict(raw: bytes) -> list | None:
    def pairs(found: list) -> dict:
        if len({name for name, _ in found}) < len(found):
            raise ValueError('twice')
        return dict(found)

    text = raw.decode('utf-8-sig')
    try:
        if text.lstrip(' \t\r\n').startswith('['):
            return json.loads(text, object_pairs_hook=pairs)
        return [json.loads(line, object_pairs_hook=pairs) for line in text.split('\n') if line.strip(' \t\r\n')]
    except ValueError:
        return None


@given(raw=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map(b''.join))
@example(b'[' + b'[' * 100_000 + b']' * 100_000 + b']')
@example(b'[{"a": ' + b'[' * 100_000 + b']' * 100_000 + b'}]')
@example(b'[{"a": ' + b'9' * 5000 + b'}]')
@example(b'[{"a": 1, "a": 2}]')
@example(b'[{"a": {"b": 1, "b": 1}}]')
@example(b'{"a": "\\ud83d"}')
@example(b'{"a": "\\ud83d\\ude00"}')
@example(b'[' + '{"a": 1}'.encode('utf-16-le') + b']')
@example(b'{"a": 1}\n' + b' ' * 200 + b'\r\n{"a": 2}')
@example(b'{"a": 1}\r{"a": 2}')
@example(b'[]\xef\xbb\xbf')
@quick
def test_any_bytes(tmp_path, unstored, raw: bytes):
    check(tmp_path / 'rows.json', raw)


@given(data=st.data())
@quick
def test_damaged_files(tmp_path, unstored, data):
    raw = data.draw(st.sampled_from(VALID))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        kind = data.draw(st.sampled_from(['cut', 'insert', 'replace', 'drop', 'repeat']))
        piece = data.draw(st.sampled_from(PIECES))
        raw = {'cut': raw[:at], 'insert': raw[:at] + piece + raw[at:], 'replace': raw[:at] + piece + raw[at + len(piece):],
               'drop': raw[:at] + raw[at + 1:], 'repeat': raw[:at] + raw[at // 2:]}[kind]
    check(tmp_path / 'rows.json', raw)


@given(data=st.data())
@settings(quick, max_examples=150)
def test_a_damaged_index_is_built_again_or_not_used(tmp_path, data):
    """A stored index of other bytes leads to the records of the file or to an error, never to another exception."""
    path, stored = tmp_path / 'rows.json', tmp_path / ('rows.json' + SUFFIX)
    path.write_bytes(VALID[0])
    survey = Survey('ids', lambda records: {'ids': [record.get('id') for record in records]})
    digest = open_index(path, survey=survey).digest
    raw = bytearray(stored.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    stored.write_bytes(raw[:data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        index = open_index(path, survey=survey)
        assert index.digest == digest and len(index) == len(ROWS)
        assert [index.record(i) for i in range(len(index))] == ROWS and index.finding('ids') == [1, None, '2']
    except DataError as error:
        assert str(error).startswith(str(path))
    finally:
        stored.unlink(missing_ok=True)


@given(record=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=12))
@settings(quick, max_examples=200)
def test_any_record_has_a_row_or_a_named_problem(record):
    if isinstance(record, dict):
        problems = SURVEY.run([record])['problems']
        assert problems['count'] in (0, 1) and json.dumps(problems)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'a').symlink_to('b')
    (tmp_path / 'b').symlink_to('a')
    for name, words in (('pipe', 'is not a file'), ('folder', 'is not a file'), ('a', 'symbolic links'),
                        ('none', 'No such file'), ('nul\0', 'cannot be read'), ('x' * 300, 'too long'),
                        ('half\ud800', 'cannot be read')):
        with pytest.raises(DataError, match=words):
            open_index(tmp_path / name)


def test_a_file_that_is_cut_while_it_is_in_use_is_told(tmp_path):
    path = tmp_path / 'rows.json'
    path.write_text(json.dumps([{'id': i, 'text': 'x' * 9000} for i in range(20)]))
    index = open_index(path)
    os.truncate(path, 20_000)
    assert index.record(0)['id'] == 0
    with pytest.raises(DataError, match='was cut short while it was in use; record 19'):
        index.record(19)
