"""One POST of JSON, answered by JSON, with everything that can go wrong sorted into 'try again' and 'do not'.

The standard library's client is used: no redirect is followed (the key would travel to another host), a proxy is taken
from the environment except for this machine itself, and the time-out holds for the whole answer, not for each byte of it.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

MAX_BYTES = 8 * 2**20  # of an answer; a judge's has a few hundred
_AGAIN = {408, 409, 423, 425, 429}  # and everything from 500 on
_CHUNK = 65536


class HttpProblem(Exception):
    """A request that did not succeed. `status` is None when there was no answer at all."""

    def __init__(self, message: str, *, status: int | None = None, again: bool = True,
                 retry_after_s: float | None = None):
        super().__init__(message)
        self.status, self.again, self.retry_after_s = status, again, retry_after_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def _not_followed(self, *_: Any) -> None:
        """None makes urllib raise the answer as an error; where it leads to is never read as an address."""
        return None

    http_error_301 = http_error_302 = http_error_303 = http_error_307 = http_error_308 = _not_followed


def post_json(url: str, body: Mapping[str, Any], *, headers: Mapping[str, str], timeout_s: float) -> Any:
    """The answer's JSON; raises HttpProblem."""
    request = urllib.request.Request(url, json.dumps(body).encode(), method='POST', headers={
        'Content-Type': 'application/json', 'Accept': 'application/json', 'User-Agent': 'coinkit', **headers})
    end = time.monotonic() + timeout_s
    try:
        with _opener(url).open(request, timeout=timeout_s) as response:
            raw = _read(response, end)
    except urllib.error.HTTPError as error:
        raise _refusal(error, end) from None
    except TimeoutError:
        raise HttpProblem(f'no answer within {timeout_s:g} s') from None
    except urllib.error.URLError as error:
        raise HttpProblem(f'no connection ({error.reason})') from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a name or a header that is none
        raise HttpProblem(f'the connection broke ({type(error).__name__}: {error})') from None
    return _parse(raw)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise HttpProblem(f'the answer is cut off or not JSON ({len(raw)} bytes)') from None


def _read(response: Any, end: float) -> bytes:
    parts, size = [], 0
    while chunk := response.read1(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise HttpProblem(f'the answer is longer than {MAX_BYTES} bytes')
        if time.monotonic() > end:
            raise TimeoutError
    return b''.join(parts)


def _refusal(error: urllib.error.HTTPError, end: float) -> HttpProblem:
    try:
        said = _read(error, end).decode(errors='replace')
    except (OSError, http.client.HTTPException, HttpProblem):
        said = ''
    finally:
        error.close()
    message = f'HTTP {error.code}: {_message(said) or error.reason}'
    if 300 <= error.code < 400:
        message = f'HTTP {error.code}: it redirects to {error.headers.get("Location", "somewhere else")}'
    return HttpProblem(message, status=error.code, again=error.code in _AGAIN or error.code >= 500,
                       retry_after_s=retry_after_s(error.headers.get('Retry-After')))


def _message(said: str) -> str:
    """The sentence in an OpenAI-style error, else the text."""
    try:
        blob = json.loads(said)
    except (ValueError, RecursionError):
        return said
    inner = blob.get('error', blob) if isinstance(blob, dict) else blob
    return str(inner.get('message', inner)) if isinstance(inner, dict) else str(inner)


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None when there is none that can be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):  # a year beyond every calendar
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < 1e9 else None  # also refuses nan and inf


def _opener(url: str) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_this_machine(urlsplit(url).hostname or ''):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def is_this_machine(host: str) -> bool:
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
