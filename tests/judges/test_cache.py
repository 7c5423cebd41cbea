"""Answers on disk: whole lines only, the first answer stays, one writer, and what a kill or a damaged file leaves."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import RunError
from coinkit.judges.base import Answer
from coinkit.judges.cache import AnswerCache


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'judgements' / 'answers.jsonl'


def fill(path, **answers: str) -> None:
    with AnswerCache(path) as cache:
        for key, text in answers.items():
            cache.put(key, Answer(text, 'm', 3, 1), judge='Test')


def test_answers_come_back(path):
    fill(path, a='8', b='zwölf\n\u2028\ud800')
    found = AnswerCache(path)
    assert len(found) == 2 and 'a' in found and 'c' not in found and found.get('c') is None
    assert found.get('a') == Answer('8', 'm', 3, 1) and found.get('b').text == 'zwölf\n\u2028\ud800'
    assert {'key', 'answer', 'judge', 'model', 'tokens_in', 'tokens_out', 'time'} == json.loads(
        path.read_text().splitlines()[0]).keys()


def test_the_first_answer_stays_and_is_written_once(path):
    fill(path, a='8')
    fill(path, a='3', b='1')
    assert AnswerCache(path).get('a').text == '8' and len(path.read_text().splitlines()) == 2


def test_an_answer_is_on_disk_as_soon_as_it_is_put(path):
    with AnswerCache(path) as cache:
        cache.put('a', Answer('8'), judge='Test')
        assert AnswerCache(path).get('a').text == '8'


def test_a_torn_line_is_cut_off_and_its_question_asked_again(path):
    fill(path, a='8', b='9')
    whole = path.read_bytes()
    for length in range(len(whole) - 1, whole.index(b'\n'), -7):
        path.write_bytes(whole[:length])
        assert 'b' not in AnswerCache(path)  # reading alone changes nothing
        assert path.stat().st_size == length
        fill(path, b='7')
        assert [AnswerCache(path).get(key).text for key in 'ab'] == ['8', '7'] and path.read_bytes().count(b'\n') == 2


@pytest.mark.parametrize('line', ['{"key": "a"}', '[]', 'null', '{"key": "a", "answer": ', '\0\0'])
def test_a_damaged_line_is_named(path, line):
    fill(path, a='8')
    with open(path, 'a') as file:
        file.write(line + '\n')
    with pytest.raises(RunError, match='answers.jsonl: line 2'):
        AnswerCache(path)


def test_one_process_writes_at_a_time(path):
    with AnswerCache(path):
        with pytest.raises(RunError, match='another process'):
            AnswerCache(path).__enter__()
    fill(path, a='1')


def test_answers_written_between_reading_and_writing_are_seen(path):
    late = AnswerCache(path)
    fill(path, a='8')
    with late:
        assert 'a' in late


def test_a_full_disk_stops_the_asking(path, monkeypatch):
    with AnswerCache(path) as cache:
        monkeypatch.setattr('os.write', lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
        with pytest.raises(RunError, match='No space left'):
            cache.put('a', Answer('8'), judge='Test')
        monkeypatch.undo()
        assert 'a' not in cache
