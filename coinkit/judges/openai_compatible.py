"""A judge behind any OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, or a provider.

`POST {base_url}/chat/completions`, several at a time, at a pace. What may pass (429, 5xx, a time-out, a broken connection,
an answer that is cut off) is tried again after a growing wait or the one that Retry-After asks for; what will not pass (a
wrong key, an unknown model) stops everything with the endpoint's own words. Answers that are there are always kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from coinkit.errors import ConfigError, Problem, RunError
from coinkit.judges.base import (
    ANSWER_TOKENS,
    FORMAT_THRESHOLD,
    Answer,
    Decoding,
    Judge,
    Keep,
    Parse,
    Question,
    Unanswered,
    out_of_range,
    sampling,
)
from coinkit.judges.http_json import HttpProblem, post_json
from coinkit.judges.pace import Pace, backoff_s
from coinkit.judges.prompts import SYSTEM
from coinkit.judges.secret import Secret
from coinkit.judges.workers import Workers

FAILURES_IN_A_ROW = 3  # questions that got no answer after all tries, with no answer to any other between: it is down
_SHOWN = 300  # characters of an endpoint's message
_MANY = 1e9


class OpenAICompatible(Judge):
    """A model behind an OpenAI-compatible endpoint; the API key comes from the environment variable `api_key_env`."""

    def __init__(self, base_url: str, model: str, *, api_key_env: str | None = None, revision: str = '',
                 decoding: Decoding = 'greedy', parse: Parse = 'strict', threshold: float = FORMAT_THRESHOLD,
                 max_new_tokens: int = ANSWER_TOKENS, system: str = SYSTEM, extra: Mapping[str, Any] | None = None,
                 concurrency: int = 8, requests_per_minute: float | None = None,
                 tokens_per_minute: float | None = None, timeout_s: float = 120.0, tries: int = 8,
                 longest_wait_s: float = 60.0, longest_retry_after_s: float = 600.0, on_refused: str = 'stop',
                 price_in: float | None = None, price_out: float | None = None):
        super().__init__(parse=parse, threshold=threshold, decoding=decoding, max_new_tokens=max_new_tokens,
                         system=system)
        self.base_url, self.model, self.revision = base_url.rstrip('/'), model, revision
        self.secret = Secret(api_key_env)
        self.extra = dict(extra or {})
        self.concurrency, self.timeout_s, self.tries = concurrency, timeout_s, tries
        self.longest_wait_s, self.longest_retry_after_s, self.on_refused = longest_wait_s, longest_retry_after_s, on_refused
        self.price_in, self.price_out = price_in, price_out
        self.limits = {'requests_per_minute': requests_per_minute, 'tokens_per_minute': tokens_per_minute}
        problems = [*_url_problems(self.base_url), *self.secret.name_problems('judge OpenAICompatible: api_key_env'),
                    *self._range_problems()]
        if problems:
            raise ConfigError(problems)

    def _range_problems(self) -> list[Problem]:
        where = 'judge OpenAICompatible'
        problems = out_of_range(
            where, concurrency=(self.concurrency, 1, 1024), tries=(self.tries, 1, 100),
            timeout_s=(self.timeout_s, 0.01, _MANY), longest_wait_s=(self.longest_wait_s, 0, _MANY),
            longest_retry_after_s=(self.longest_retry_after_s, 0, _MANY),
            price_in=(self.price_in, 0, _MANY), price_out=(self.price_out, 0, _MANY),
            **{key: (value, 1e-3, _MANY) for key, value in self.limits.items()})
        if not self.model:
            problems.append(Problem(f'{where}: model', 'is empty; the name that the endpoint serves is wanted.'))
        if self.on_refused not in ('stop', 'skip'):
            problems.append(Problem(f'{where}: on_refused', f"given {self.on_refused!r}, allowed: 'stop' or 'skip'."))
        reserved = sorted(self.extra.keys() & {'model', 'messages', 'stream', 'n'})
        return problems + [Problem(f'{where}: extra.{key}', 'is set by coinkit and not given here.') for key in reserved]

    @property
    def identity(self) -> dict[str, Any]:
        """Not the address: the same model served elsewhere gives the same answers, and they are not paid for twice."""
        return {'judge': 'OpenAICompatible', 'model': self.model, 'revision': self.revision, 'settings': self._settings()}

    def _settings(self) -> dict[str, Any]:
        """The request's body without model and messages; a None in `extra` takes a key out."""
        given = {'max_tokens': self.max_new_tokens, **sampling(self.decoding), **self.extra}
        return {key: value for key, value in given.items() if value is not None}

    def check(self) -> list[Problem]:
        return self.secret.problems('judge OpenAICompatible: api_key_env')

    def least_seconds(self, questions: int, tokens: int) -> float:
        return Pace(**self.limits).seconds(questions, tokens)

    def ask(self, questions: Iterable[Question], keep: Keep) -> list[Unanswered]:
        problems = self.check()
        if problems:
            raise ConfigError(problems)
        asking = _Asking(self, keep)
        Workers(self.concurrency, asking.stop).run(questions, asking.one)
        return asking.unanswered


class _Asking:
    """One call of `ask`: what its threads share."""

    def __init__(self, judge: OpenAICompatible, keep: Keep):
        self.judge, self.keep = judge, keep
        self.url = f'{judge.base_url}/chat/completions'
        self.stop = threading.Event()
        self.pace = Pace(**judge.limits, stop=self.stop)
        self.lock = threading.Lock()
        self.unanswered: list[Unanswered] = []
        self.failed_in_a_row = 0

    def one(self, question: Question) -> None:
        """Ask until there is an answer, or all tries are used up."""
        reason = ''
        for attempt in range(self.judge.tries):
            try:
                answer = self._request(question)
            except HttpProblem as problem:
                reason = self._shown(str(problem))
                if not problem.again:
                    return self._refused(question, problem, reason)
                if attempt + 1 < self.judge.tries:
                    self._wait(problem, attempt)
            else:
                with self.lock:
                    self.failed_in_a_row = 0
                    self.keep(question, answer)
                return None
        return self._failed(question, f'{reason} ({self.judge.tries} tries)')

    def _request(self, question: Question) -> Answer:
        judge, tokens = self.judge, question.tokens + self.judge.max_new_tokens
        self.pace.take(tokens)
        body = {'model': judge.model, 'messages': question.messages, **judge._settings()}
        answer = read_answer(post_json(self.url, body, headers=judge.secret.headers(), timeout_s=judge.timeout_s))
        if answer.tokens_in is not None:
            self.pace.settle(tokens, answer.tokens_in + (answer.tokens_out or 0))
        return Answer(judge.secret.scrub(answer.text), judge.secret.scrub(answer.model), answer.tokens_in, answer.tokens_out)

    def _wait(self, problem: HttpProblem, attempt: int) -> None:
        """As long as the endpoint asks for, and then everybody waits; else longer each time, and only this request."""
        asked = problem.retry_after_s
        if asked is None:
            self.pace.sleep_until(self.pace.clock() + backoff_s(attempt, self.judge.longest_wait_s))
        elif asked > self.judge.longest_retry_after_s:
            raise RunError(f'{self.url}: it asks to wait {asked:.0f} s (HTTP {problem.status}), longer than '
                           f'longest_retry_after_s={self.judge.longest_retry_after_s:g}. The answers so far are kept; run '
                           'the same command again later.')
        else:
            self.pace.pause(asked)

    def _refused(self, question: Question, problem: HttpProblem, reason: str) -> None:
        """An error that another try will not mend: this question's own, or everybody's."""
        if self.judge.on_refused == 'skip' and problem.status in (400, 413, 422):
            with self.lock:
                self.unanswered.append(Unanswered(question, reason))
            return
        cure = {401: self._key_cure(), 403: self._key_cure(), 404: 'Look at base_url and model.'}.get(
            problem.status, "on_refused='skip' goes on with the other questions.")
        raise RunError(f'{self.url}: the endpoint refuses the request: {reason}. {cure} The answers so far are kept.')

    def _key_cure(self) -> str:
        name = self.judge.secret.name
        return f'The key is read from the environment variable {name}.' if name else 'Give api_key_env.'

    def _failed(self, question: Question, reason: str) -> None:
        with self.lock:
            self.unanswered.append(Unanswered(question, reason))
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= FAILURES_IN_A_ROW:
                raise RunError(f'{self.url}: {self.failed_in_a_row} questions in a row got no answer: {reason}. The answers '
                               'so far are kept; run the same command again when the endpoint is up.')

    def _shown(self, text: str) -> str:
        """What is said of a problem: on one line, not too long, without the key."""
        text = ' '.join(self.judge.secret.scrub(text).split())
        return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'


def read_answer(blob: Any) -> Answer:
    """The text and the token counts of a chat completion; anything else is a problem that may pass."""
    try:
        message = blob['choices'][0]['message']
        content = message['content']
    except (KeyError, IndexError, TypeError):
        said = blob.get('error', blob) if isinstance(blob, dict) else blob
        raise HttpProblem(f'the answer is not a chat completion: {said}') from None
    if isinstance(content, list):  # parts; one without a text, or with null, adds nothing
        texts = [part.get('text') for part in content if isinstance(part, dict)]
        content = ''.join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str | None):
        raise HttpProblem(f'the answer is not a text: {content!r}')
    usage = blob.get('usage') if isinstance(blob.get('usage'), dict) else {}
    return Answer(content or '', str(blob.get('model') or ''), _count(usage.get('prompt_tokens')),
                  _count(usage.get('completion_tokens')))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MANY else None


def _url_problems(url: str) -> list[Problem]:
    where = 'judge OpenAICompatible: base_url'
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises for a port that is no number
    except ValueError as error:
        return [Problem(where, f'not an address ({error}).')]
    if parts.username or parts.password or parts.query:
        return [Problem(where, 'holds a user name, a password or a query; it is written to files and is not shown here.',
                        'Give the key through api_key_env.')]
    if not url.isascii() or not url.isprintable() or ' ' in url:
        return [Problem(where, f'given {url!r}, has characters that no address has (spaces, line breaks or letters beyond '
                               'ASCII).', 'Write them as a server takes them: %20, xn--...')]
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        return [Problem(where, f'given {url!r}, allowed: http(s)://HOST[:PORT]/v1.', "Example: 'http://localhost:8000/v1'.")]
    if parts.path.endswith('/chat/completions'):
        return [Problem(where, f'given {url!r}.', 'Leave /chat/completions out; it is added.')]
    return []
