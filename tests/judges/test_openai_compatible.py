"""The endpoint judge against a real server on loopback that misbehaves: nothing is lost, nothing is asked twice."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from coinkit.errors import ConfigError, RunError
from coinkit.judges import openai_compatible
from coinkit.judges.base import Answer, Question, Unanswered
from coinkit.judges.cache import AnswerCache
from coinkit.judges.http_json import is_this_machine, retry_after_s
from coinkit.judges.openai_compatible import OpenAICompatible
from tests.judges.endpoint import RESET, Endpoint, Raw, Slow, Status, completion, serving

KEY = 'sk-very-secret-0123456789'
PROMPTS = [f'question {number}' for number in range(24)]
FAST = {'longest_wait_s': 0.02, 'timeout_s': 20.0, 'tries': 6}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv('TEST_JUDGE_KEY', KEY)
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')  # this machine itself is never asked through a proxy


def judge(endpoint: Endpoint, **options) -> OpenAICompatible:
    return OpenAICompatible(endpoint.url, 'some-model', api_key_env='TEST_JUDGE_KEY', **{**FAST, **options})


def asked(asking: OpenAICompatible, prompts=PROMPTS) -> tuple[dict[str, Answer], list[Unanswered]]:
    """Answers by prompt; a second answer to a question would fail."""
    found: dict[str, Answer] = {}

    def keep(question: Question, answer: Answer) -> None:
        assert question.content not in found
        found[question.content] = answer

    return found, asking.ask([asking.question(prompt) for prompt in prompts], keep)


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_one_request_as_the_protocol_wants_it():
    with serving(lambda prompt, attempt: '8') as endpoint:
        found, unanswered = asked(judge(endpoint), ['rate this'])
    assert found == {'rate this': Answer('8', 'served-model', 50, 2)} and unanswered == []
    assert endpoint.bodies == [{'model': 'some-model', 'max_tokens': 20, 'temperature': 0.0, 'messages': [
        {'role': 'system', 'content': 'You are a helpful assistant.'}, {'role': 'user', 'content': 'rate this'}]}]
    assert endpoint.authorizations == [f'Bearer {KEY}']


def test_published_decoding_extra_keys_and_no_key():
    with serving(lambda prompt, attempt: '8') as endpoint:
        plain = OpenAICompatible(endpoint.url + '/', 'm', decoding='upstream', system='',
                                 extra={'max_tokens': None, 'max_completion_tokens': 64, 'seed': 1})
        asked(plain, ['rate'])
    assert endpoint.bodies == [{'model': 'm', 'temperature': 0.7, 'top_p': 0.8, 'repetition_penalty': 1.05, 'seed': 1,
                                'max_completion_tokens': 64, 'messages': [{'role': 'user', 'content': 'rate'}]}]
    assert endpoint.authorizations == [None]


def test_requests_run_side_by_side_and_never_more_than_asked_for():
    crowd = threading.Barrier(6)  # nobody is answered before six ask at a time

    def behave(prompt: str, attempt: int):
        crowd.wait(timeout=30)
        return Slow('8', 0.02)

    with serving(behave) as endpoint:
        found, _ = asked(judge(endpoint, concurrency=6, timeout_s=60))
    assert len(found) == len(PROMPTS) == 24 and endpoint.most_open == 6


def test_the_pace_is_kept_on_the_wire():
    with serving(lambda prompt, attempt: '8') as endpoint:
        start = time.monotonic()
        asked(judge(endpoint, requests_per_minute=1200, concurrency=8), PROMPTS[:8])
    assert max(endpoint.times) - start >= 7 * 0.05


# --- what may pass ----------------------------------------------------------------------------------------------------

GOOD = completion('8')
PASSING = {
    '429 with Retry-After': Status(429, {'Retry-After': '0'}), '429 without': Status(429), '408': Status(408),
    'garbage in Retry-After': Status(429, {'Retry-After': 'soon'}), '500': Status(500), '503': Status(503),
    '529': Status(529), 'reset': RESET, 'cut-off JSON': Raw(GOOD[:40]), 'cut-off body': Raw(GOOD[:60], len(GOOD)),
    'nothing': Raw(b''), 'HTML': Raw(b'<html>busy</html>'), 'not UTF-8': Raw(b'\xff\xfe{}'), 'a list': Raw(b'[1, 2]'),
    'no choices': Raw(b'{"choices": []}'), 'no message': Raw(b'{"choices": [{}]}'), 'an error that says 200':
    Raw(b'{"error": {"message": "overloaded"}}'), 'a number for a text': Raw(b'{"choices": [{"message": {"content": 7}}]}'),
    'deep nesting': Raw(b'[' * 100_000), 'Retry-After in no calendar':
    Status(429, {'Retry-After': 'Mon, 01 Jan 99999999999 00:00:00 GMT'})}
LATE = {'silence': Slow('8', 1.2), 'drip': Slow('8', drip=0.02)}


@pytest.mark.parametrize('act', PASSING.values(), ids=PASSING)
def test_a_failure_that_passes_loses_nothing(act):
    prompts = PROMPTS[:3]
    with serving(lambda prompt, attempt: act if attempt == 0 else f'{len(prompt)}') as endpoint:
        found, unanswered = asked(judge(endpoint, concurrency=3), prompts)
        time.sleep(0.01)
    assert unanswered == [] and {prompt: answer.text for prompt, answer in found.items()} == {
        prompt: str(len(prompt)) for prompt in prompts}
    assert endpoint.requests == Counter({prompt: 2 for prompt in prompts})


@pytest.mark.parametrize('act', LATE.values(), ids=LATE)
def test_an_answer_that_is_late_is_given_up_and_asked_for_again(act):
    with serving(lambda prompt, attempt: act if attempt == 0 else '8') as endpoint:
        found, unanswered = asked(judge(endpoint, timeout_s=0.5), ['a'])
    assert unanswered == [] and found['a'].text == '8' and endpoint.requests['a'] >= 2


def test_everything_at_once_each_question_is_answered_and_kept_once(tmp_path):
    """Each prompt meets another series of failures before it is answered; the cache ends with one line per question."""
    acts = list(PASSING.values())

    def behave(prompt: str, attempt: int):
        number = int(prompt.split()[1])
        return acts[(number * 5 + attempt) % len(acts)] if attempt < number % 5 else str(number % 11)

    with serving(behave) as endpoint, AnswerCache(tmp_path / 'answers.jsonl') as cache:
        asking = judge(endpoint)
        questions = {asking.question(prompt).key: prompt for prompt in PROMPTS}
        unanswered = asking.ask(map(asking.question, PROMPTS),
                                lambda question, answer: cache.put(question.key, answer, judge='Test'))
    assert unanswered == [] and endpoint.answered == Counter(PROMPTS)
    lines = (tmp_path / 'answers.jsonl').read_text().splitlines()
    assert len(lines) == len(PROMPTS)
    stored = AnswerCache(tmp_path / 'answers.jsonl')
    assert {prompt: stored.get(key).text for key, prompt in questions.items()} == {
        prompt: str(int(prompt.split()[1]) % 11) for prompt in PROMPTS}


def test_retry_after_holds_for_everybody():
    """One request is told to wait two seconds; meanwhile nobody asks."""
    with serving(lambda prompt, attempt: Status(429, {'Retry-After': '2'}) if (prompt, attempt) == ('question 0', 0)
                 else Slow('8', 0.02)) as endpoint:
        found, _ = asked(judge(endpoint, concurrency=2))
    gaps = [after - before for before, after in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert len(found) == len(PROMPTS) and max(gaps) >= 1.0
    assert sum(endpoint.requests.values()) == len(PROMPTS) + 1


def test_retry_after_as_a_date_and_as_nonsense():
    soon = retry_after_s(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert 28 <= soon <= 30
    assert [retry_after_s(text) for text in ('5', '1.5', '-3', 'soon', '', 'nan', 'inf', None)] == [
        5, 1.5, 0, None, None, None, None, None]
    assert retry_after_s('Wed, 21 Oct 2015 07:28:00 GMT') == 0
    assert retry_after_s('Mon, 01 Jan 99999999999 00:00:00 GMT') is None


def test_too_long_a_wait_is_told_instead_of_waited():
    with serving(lambda prompt, attempt: Status(429, {'Retry-After': '86400'})) as endpoint:
        with pytest.raises(RunError, match='86400 s .*run .*again later'):
            asked(judge(endpoint))


def test_nonsense_is_an_answer_and_is_not_asked_again():
    texts = {'question 0': 'I refuse', 'question 1': '', 'question 2': None, 'question 3': '💥' * 50,
             'question 4': [{'type': 'text', 'text': '7'}, {'type': 'text', 'text': '/10'}],
             'question 5': [{'text': None}, {'type': 'text', 'text': '8'}, {'text': {}}, {}, 'x', None]}
    with serving(lambda prompt, attempt: Raw(completion(texts[prompt]))) as endpoint:
        found, unanswered = asked(judge(endpoint), list(texts))
    assert unanswered == [] and set(endpoint.requests.values()) == {1}
    assert [found[prompt].text for prompt in texts] == ['I refuse', '', '', '💥' * 50, '7/10', '8']


def test_token_counts_that_are_none_are_left_out():
    with serving(lambda prompt, attempt: Raw(completion('8', prompt_tokens=10**400))) as endpoint:
        found, unanswered = asked(judge(endpoint, tokens_per_minute=1e6), ['a'])
    assert unanswered == [] and (found['a'].tokens_in, found['a'].tokens_out) == (None, 2)


def test_a_name_that_no_network_takes_is_no_connection(monkeypatch):
    monkeypatch.delenv('http_proxy')
    asking = OpenAICompatible(f'http://{"a" * 64}.example/v1', 'm', **{**FAST, 'tries': 1})
    with pytest.raises(RunError, match='the connection broke .*label'):
        asked(asking)


def test_half_a_surrogate_pair_is_asked_about():
    with serving(lambda prompt, attempt: '8') as endpoint:
        found, _ = asked(judge(endpoint), ['is it \ud800?'])
    assert list(found) == list(endpoint.requests) == ['is it \ud800?']


# --- what does not pass -----------------------------------------------------------------------------------------------


def test_a_question_without_an_answer_is_told_and_the_others_go_on():
    with serving(lambda prompt, attempt: Status(500) if prompt == 'question 7' else '8') as endpoint:
        found, unanswered = asked(judge(endpoint, tries=3))
    assert len(found) == len(PROMPTS) - 1
    assert [(each.question.content, each.reason) for each in unanswered] == [('question 7', 'HTTP 500: not now (3 tries)')]
    assert endpoint.requests['question 7'] == 3


def test_an_endpoint_that_is_down_is_not_asked_all_questions():
    with serving(lambda prompt, attempt: RESET) as endpoint:
        with pytest.raises(RunError, match='3 questions in a row got no answer: .*same command again'):
            asked(judge(endpoint, tries=2, concurrency=2))
    assert len(endpoint.requests) < 8


def test_nobody_listens():
    asking = OpenAICompatible('http://127.0.0.1:1/v1', 'm', **{**FAST, 'tries': 2})
    with pytest.raises(RunError, match='no connection'):
        asked(asking)


@pytest.mark.parametrize('act, message', [
    (Status(401, body='{"error": {"message": "bad key"}}'), 'HTTP 401: bad key.*TEST_JUDGE_KEY'),
    (Status(403), 'HTTP 403.*TEST_JUDGE_KEY'), (Status(404, body='{"detail": "no model"}'), 'HTTP 404.*base_url and model'),
    (Status(400, body='too long'), "HTTP 400: too long.*on_refused='skip'"),
    *((Status(code, {'Location': place}), f'HTTP {code}: it redirects to {re.escape(place)}')
      for code, place in ((307, 'http://elsewhere.example/v1'), (301, '/v2'), (302, 'http://[bad'), (303, 'file:///etc/x'),
                          (308, 'http://x:y/')))])
def test_what_another_try_will_not_mend_stops_everything(act, message):
    with serving(lambda prompt, attempt: act) as endpoint:
        with pytest.raises(RunError, match=message):
            asked(judge(endpoint, concurrency=1))
    assert sum(endpoint.requests.values()) == 1


def test_answers_on_their_way_are_kept_when_another_request_stops_everything():
    crowd = threading.Barrier(4)

    def behave(prompt: str, attempt: int):
        crowd.wait(timeout=30)
        return Status(401) if prompt == 'question 0' else Slow('8', 1.0)

    with serving(behave) as endpoint:
        kept: list[str] = []
        asking = judge(endpoint, concurrency=4)
        with pytest.raises(RunError):
            asking.ask(map(asking.question, PROMPTS), lambda question, answer: kept.append(question.content))
    assert sorted(kept) == sorted(endpoint.answered) and len(kept) == 3


def test_questions_that_are_refused_may_be_left_out():
    with serving(lambda prompt, attempt: Status(413) if prompt == 'question 3' else '8') as endpoint:
        found, unanswered = asked(judge(endpoint, on_refused='skip'))
    assert len(found) == len(PROMPTS) - 1 and [each.question.content for each in unanswered] == ['question 3']


def test_an_answer_that_cannot_be_kept_stops_everything():
    def keep(question: Question, answer: Answer) -> None:
        raise RunError('no room')

    with serving(lambda prompt, attempt: '8') as endpoint:
        asking = judge(endpoint, concurrency=2)
        with pytest.raises(RunError, match='no room'):
            asking.ask(map(asking.question, PROMPTS), keep)
    assert sum(endpoint.requests.values()) <= 4


def test_ctrl_c_keeps_the_answers_that_are_on_their_way(monkeypatch):
    """The main thread is interrupted while it waits for the workers; the open requests end and are kept."""
    kept: list[str] = []
    with serving(lambda prompt, attempt: Slow('8', 0.5)) as endpoint:
        asking = judge(endpoint, concurrency=4)
        monkeypatch.setattr('queue.Queue.get', lambda *_, **__: interrupt(endpoint))
        with pytest.raises(KeyboardInterrupt):
            asking.ask(map(asking.question, PROMPTS), lambda question, answer: kept.append(question.content))
    assert 4 <= len(kept) == sum(endpoint.requests.values()) < len(PROMPTS)


def interrupt(endpoint: Endpoint) -> None:
    end = time.monotonic() + 5
    while sum(endpoint.requests.values()) < 4 and time.monotonic() < end:
        time.sleep(0.005)
    raise KeyboardInterrupt


# --- the key, the identity, the config --------------------------------------------------------------------------------


def test_the_key_is_shown_nowhere(caplog, capsys):
    caplog.set_level(logging.DEBUG)
    echo = [Status(500, body=f'{{"error": {{"message": "key {KEY} is tired"}}}}'), Raw(completion(f'I saw {KEY}'))]
    with serving(lambda prompt, attempt: echo[min(attempt, 1)]) as endpoint:
        asking = judge(endpoint)
        found, _ = asked(asking, ['a'])
        assert found['a'].text == 'I saw [key]'
        endpoint.behave = lambda prompt, attempt: Status(401, body=f'wrong key: {KEY}')
        with pytest.raises(RunError) as error:
            asked(asking, ['b'])
    shown = [str(error.value), repr(vars(asking)), repr(asking.identity), caplog.text, *capsys.readouterr()]
    assert '[key]' in str(error.value) and not any(KEY in text for text in shown)


def test_a_key_is_wanted_before_anything_is_asked(monkeypatch):
    monkeypatch.delenv('TEST_JUDGE_KEY')
    with serving(lambda prompt, attempt: '8') as endpoint:
        with pytest.raises(ConfigError, match='TEST_JUDGE_KEY is not set'):
            asked(judge(endpoint))
        monkeypatch.setenv('TEST_JUDGE_KEY', 'two\nlines')
        with pytest.raises(ConfigError) as error:
            asked(judge(endpoint))
    assert 'cannot be sent' in str(error.value) and 'two' not in str(error.value) and not endpoint.requests


@pytest.mark.parametrize('name', [KEY, 'sk_live_123', 'with space', ''])
def test_a_key_in_place_of_its_name_is_refused_and_not_shown(name):
    with pytest.raises(ConfigError) as error:
        OpenAICompatible('http://localhost/v1', 'm', api_key_env=name)
    assert 'name of an environment variable' in str(error.value) and (not name or name not in str(error.value))


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as error:
        OpenAICompatible('http://me:hunter2@host/v1', 'm')
    assert 'hunter2' not in str(error.value)


@pytest.mark.parametrize('options, message', [
    ({'base_url': 'localhost:8000'}, 'base_url'), ({'base_url': 'ftp://x/v1'}, 'base_url'),
    ({'base_url': 'http://x:y/v1'}, 'base_url'), ({'base_url': 'http://h\u00f6st/v1'}, 'base_url: .*beyond ASCII'),
    ({'base_url': 'http://host/a b'}, 'base_url: .*spaces'), ({'base_url': 'http://[bad'}, 'base_url: not an address'),
    ({'base_url': 'http://x/v1/chat/completions'}, 'Leave /chat/completions out'), ({'model': ''}, 'model'),
    ({'concurrency': 0}, 'concurrency'), ({'tries': 0}, 'tries'), ({'timeout_s': 0}, 'timeout_s'),
    ({'threshold': 11}, 'threshold'),
    ({'requests_per_minute': 0}, 'requests_per_minute'), ({'price_in': -1}, 'price_in'), ({'parse': 'lax'}, 'parse'),
    ({'decoding': 'beam'}, 'decoding'), ({'on_refused': 'ask'}, 'on_refused'), ({'extra': {'model': 'x'}}, 'extra.model'),
    ({'max_new_tokens': 0}, 'max_new_tokens')])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        OpenAICompatible(**{'base_url': 'http://localhost:8000/v1', 'model': 'm', **options})


def test_the_key_of_a_question_follows_what_the_answer_depends_on():
    def keyed(prompt: str = 'p', **options) -> str:
        given = {'base_url': 'http://localhost:8000/v1', 'model': 'm', **options}
        return OpenAICompatible(**given).question(prompt).key

    same = keyed()
    assert keyed(base_url='http://other/v1', concurrency=1, parse='upstream', threshold=5.0, price_in=1.0) == same
    others = [keyed('q'), keyed(model='n'), keyed(revision='2'), keyed(decoding='upstream'), keyed(max_new_tokens=5),
              keyed(system=''), keyed(extra={'seed': 1})]
    assert len({same, *others}) == 8


def test_this_machine():
    assert all(map(is_this_machine, ('localhost', '127.0.0.1', '127.8.8.8', '::1')))
    assert not any(map(is_this_machine, ('example.org', '10.0.0.1', '')))


def test_an_endless_answer_is_cut(monkeypatch):
    monkeypatch.setattr('coinkit.judges.http_json.MAX_BYTES', 1000)
    with serving(lambda prompt, attempt: Raw(b' ' * 5000) if attempt == 0 else '8') as endpoint:
        found, _ = asked(judge(endpoint), ['a'])
    assert found['a'].text == '8' and endpoint.requests['a'] == 2


def test_no_thread_is_left_behind():
    before = threading.active_count()
    with serving(lambda prompt, attempt: '8') as endpoint:
        asked(judge(endpoint))
    assert openai_compatible.FAILURES_IN_A_ROW == 3
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before
