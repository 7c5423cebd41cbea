"""Fetching with the real huggingface_hub from a hub on loopback, and without one."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from coinkit.config.schema import Download
from coinkit.data.doctor.hub import download, fetch, unpack_all
from coinkit.errors import ConfigError, DataError

COMMIT = 'a' * 40


class Hub:
    """A hub with one dataset; `refused` names are answered with 403."""

    def __init__(self):
        self.files = {'rows/train.json': b'[{"id": 1}]', 'pictures.zip': _zip({'pictures/1.png': b'one'}),
                      'README.md': b'hello'}
        self.refused: set[str] = set()
        self.given: list[str] = []

    def answer(self, path):
        """Status and content of a path."""
        if '/resolve/' in path:
            name = path.split('/resolve/')[1].split('/', 1)[1]
            return (403, b'') if name in self.refused else (200, self.files[name])
        if not path.startswith('/api/datasets/me/data/'):
            return 404, b''
        tree = [{'type': 'file', 'path': name, 'size': len(content), 'oid': hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()]
        return 200, json.dumps(tree if '/tree/' in path else {'id': 'me/data', 'sha': COMMIT, 'siblings': []}).encode()


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = hub.answer(self.path.split('?')[0])
            self.send_response(status)
            self.send_header('ETag', f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', COMMIT)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            if self.command == 'GET':
                self.wfile.write(content)
                hub.given += [self.path.rpartition('/')[2]] if '/resolve/' in self.path and status == 200 else []

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setattr(constants, 'ENDPOINT', here)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', here + '/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    yield hub
    server.shutdown()
    server.server_close()


class Said(list):
    def __call__(self, text):
        self.append(text)


@contextmanager
def no_bar(label, total, unit):
    class Bar:
        def advance(self, count=1, **notes):
            pass
    yield Bar()


def test_files_of_the_patterns_come_and_archives_are_unpacked(hub, tmp_path):
    said = Said()
    wanted = Download(repo='me/data', files=('rows/*', '*.zip'), to='inside', size='1 kB')
    download([wanted], tmp_path, say=said, new_bar=no_bar)
    assert (tmp_path / 'inside/rows/train.json').read_bytes() == b'[{"id": 1}]'
    assert (tmp_path / 'inside/pictures/1.png').read_bytes() == b'one' and not (tmp_path / 'inside/README.md').exists()
    assert said[0].startswith('fetching me/data') and '2 files' in said[1] and 'unpacked 1 files' in said[2]

    (tmp_path / 'inside/pictures.zip').unlink()
    hub.given.clear()
    download([wanted], tmp_path, say=said, new_bar=no_bar)
    assert hub.given == []  # all is there; the archive that was deleted had been unpacked


def test_what_was_fetched_before_a_failure_is_kept(hub, tmp_path):
    hub.refused = {'pictures.zip'}
    with pytest.raises(DataError, match='me/data: the hub .*403.*same command goes on'):
        fetch(Download(repo='me/data', files=('rows/*', '*.zip')), tmp_path, say=Said())
    hub.refused, got = set(), list(hub.given)
    fetch(Download(repo='me/data', files=('rows/*', '*.zip')), tmp_path, say=Said())
    assert (tmp_path / 'pictures.zip').exists() and (tmp_path / 'rows/train.json').exists()
    assert sorted(hub.given) == ['pictures.zip', 'train.json'] and set(got) <= {'train.json'}


def test_a_file_of_the_user_stays(hub, tmp_path):
    (tmp_path / 'rows').mkdir()
    (tmp_path / 'rows/train.json').write_text('[mine]')
    said = Said()
    fetch(Download(repo='me/data', files=('rows/*',)), tmp_path, say=said)
    assert (tmp_path / 'rows/train.json').read_text() == '[mine]' and 'rows/train.json' in said[0]


def test_every_failure_is_told_in_one_error(hub, tmp_path):
    with pytest.raises(DataError, match='(?s)me/other: .*\n.*me/third: '):
        download([Download(repo='me/other'), Download(repo='me/data', files=('rows/*',)), Download(repo='me/third')],
                 tmp_path, say=Said(), new_bar=no_bar)
    assert (tmp_path / 'rows/train.json').exists()


def test_no_network_is_told_as_such(tmp_path, monkeypatch):
    import huggingface_hub as hub_module
    for error in (ConnectionError('no route'), type('Odd', (Exception,), {})('name resolution failed\nmore')):
        def fail(*args, error=error, **given):
            raise error
        monkeypatch.setattr(hub_module.HfApi, 'list_repo_tree', fail)
        with pytest.raises(DataError, match=r'me/data: fetching stopped \((no route|name resolution failed)\)'):
            fetch(Download(repo='me/data'), tmp_path, say=Said())


def test_without_the_package_the_cure_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ConfigError, match='pip install huggingface_hub'):
        fetch(Download(repo='me/data'), tmp_path, say=Said())


def test_a_benchmark_that_no_hub_hosts(tmp_path):
    said = Said()
    download([], tmp_path, say=said, new_bar=no_bar)
    assert 'no hub hosts' in said[0]


def test_one_bad_archive_does_not_keep_the_others_packed(tmp_path):
    (tmp_path / 'a.zip').write_bytes(b'no zip')
    (tmp_path / 'b.zip').write_bytes(_zip({'1.txt': b'x'}))
    with pytest.raises(DataError, match=r'a\.zip: cannot be unpacked'):
        unpack_all(tmp_path, say=Said(), new_bar=no_bar)
    assert (tmp_path / '1.txt').exists()
