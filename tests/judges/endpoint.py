"""A real HTTP server on loopback that speaks the chat-completions protocol and misbehaves as told.

`behave(prompt, attempt)` returns what is done with the attempt-th request (from 0) of a prompt: a text is answered well;
everything else is one of the ways below to fail. The server notes every request and every whole answer.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"error": {"message": "not now"}}'


@dataclass(frozen=True)
class Raw:
    """Status 200 with this body; `length` announced, when not the true one."""

    body: bytes
    length: int | None = None


@dataclass(frozen=True)
class Slow:
    """A good answer after a while; `drip` sends it byte by byte, each after that many seconds."""

    text: str
    seconds: float = 0.0
    drip: float = 0.0


RESET = object()  # the connection is torn down without an answer
Behaviour = Callable[[str, int], object]


class Endpoint:
    """The server's books: `requests` and `answered` by prompt, bodies and keys as received."""

    def __init__(self, behave: Behaviour):
        self.behave = behave
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.authorizations: list[str | None] = []
        self.times: list[float] = []
        self.open, self.most_open = 0, 0
        self.url = ''

    def received(self, prompt: str, body: dict, authorization: str | None) -> int:
        with self.lock:
            self.requests[prompt] += 1
            self.bodies.append(body)
            self.authorizations.append(authorization)
            self.times.append(time.monotonic())
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            return self.requests[prompt] - 1

    def ended(self) -> None:
        with self.lock:
            self.open -= 1


def completion(text: object, *, prompt_tokens: int = 50) -> bytes:
    return json.dumps({'model': 'served-model', 'choices': [{'message': {'role': 'assistant', 'content': text}}],
                       'usage': {'prompt_tokens': prompt_tokens, 'completion_tokens': 2}}).encode()


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        prompt = body['messages'][-1]['content']
        attempt = self.endpoint.received(prompt, body, self.headers['Authorization'])
        act = self.endpoint.behave(prompt, attempt)
        if isinstance(act, Slow):
            time.sleep(act.seconds)
        self.endpoint.ended()  # before the answer leaves: after it, the client may already ask again
        try:
            self._act(act, prompt)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has gone; that is its right

    def _act(self, act: object, prompt: str) -> None:
        if isinstance(act, Status):
            self._send(act.code, act.body.encode(), act.headers)
        elif isinstance(act, Raw):
            self._send(200, act.body, {}, length=act.length)
        elif isinstance(act, Slow):
            self._send(200, completion(act.text), {}, drip=act.drip)
            self._count(prompt)
        elif act is RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.connection.close()
        else:
            self._send(200, completion(act), {})
            self._count(prompt)

    def _count(self, prompt: str) -> None:
        with self.endpoint.lock:
            self.endpoint.answered[prompt] += 1

    def _send(self, code: int, body: bytes, headers: dict[str, str], *, length: int | None = None,
              drip: float = 0.0) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body) if length is None else length))
        self.end_headers()
        for start in range(0, len(body), 1 if drip else len(body) or 1):
            self.wfile.write(body[start:start + 1] if drip else body)
            time.sleep(drip)

    def log_message(self, *_: object) -> None:
        """Silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A connection that the handler tore down itself is no error here."""


@contextmanager
def serving(behave: Behaviour) -> Iterator[Endpoint]:
    """The server while the body runs; `endpoint.url` is the base_url."""
    endpoint = Endpoint(behave)
    handler = type('Handler', (_Handler,), {'endpoint': endpoint})
    server = _Server(('127.0.0.1', 0), handler)
    endpoint.url = f'http://127.0.0.1:{server.server_address[1]}/v1'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
