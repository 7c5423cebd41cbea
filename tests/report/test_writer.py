"""Reports on disk: what is written, that it stands alone, that nothing in it changes from one time to the next."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from coinkit.errors import DataError
from coinkit.report.matrix_io import read_matrix, write_matrix
from coinkit.report.writer import write_report
from coinkit.types import ScoreMatrix

MATRIX = ScoreMatrix(('a', 'b'), ((80.0, 10.0), (40.0, 60.0)), (1.0, 4.0))


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / 'run'
    write_matrix(folder / 'matrix.json', MATRIX)
    (folder / 'config.py').write_text("backbone = dict(type='Llava')  # <script>\n")
    (folder / 'environment.json').write_text(json.dumps({
        'seed': 3, 'packages': {'torch': '2.13'},
        'plugins': [{'name': 'ewc', 'version': '0.1', 'file': 'ewc.py', 'sha256': 'abc' * 10}]}))
    return folder


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_files(run_dir):
    before = set(contents(run_dir))
    assert write_report(run_dir) == run_dir / 'report.html'
    assert set(contents(run_dir)) - before == {'forgetting.json', 'report.html', *(
        f'figures/{name}.{suffix}' for name in ('matrix', 'forgetting', 'average') for suffix in ('png', 'svg'))}
    assert not [path for path in run_dir.rglob('*') if '.tmp-' in path.name]


def test_forgetting_json_has_the_names(run_dir):
    write_report(run_dir, flags=['needs the task id'])
    blob = json.loads((run_dir / 'forgetting.json').read_text())
    assert (blob['ACC'], blob['MFN'], blob['MFT'], blob['BWT'], blob['BWT_over_T']) == (50.0, 50.0, 70.0, -40.0, -20.0)
    assert (blob['FWT_raw'], blob['FWT'], blob['Forgetting_max'], blob['missing']) == (10.0, 6.0, 40.0, [])
    assert blob['per_task']['a'] == {'zero_shot': 1.0, 'learned': 80.0, 'final': 40.0, 'BWT': -40.0,
                                     'Forgetting_max': 40.0, 'FWT': None}
    assert blob['flags'] == ['needs the task id']


def test_writing_again_gives_the_same_bytes_and_keeps_what_plugins_said(run_dir):
    write_report(run_dir, sections=[('Router', '<b>3 experts</b>')], flags=['needs the task id at test time'])
    first = contents(run_dir)
    write_report(run_dir)
    assert contents(run_dir) == first
    assert b'<b>3 experts</b>' in first['report.html'] and b'needs the task id' in first['report.html']


def test_the_page_stands_alone_and_is_well_formed(run_dir):
    write_report(run_dir)
    page = (run_dir / 'report.html').read_text()
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
    assert not re.findall(r'@import|url\((?!#)', page)
    assert '<script' not in page and '&lt;script&gt;' in page  # the config is text
    for word in ('BWT', '-40.00', 'ewc', 'torch 2.13', 'prefers-color-scheme', 'viewport'):
        assert word in page
    _assert_balanced(page)


def test_missing_cells_are_flagged(run_dir):
    write_matrix(run_dir / 'matrix.json', ScoreMatrix(('a', 'b'), ((80.0, None), (None, 60.0))))
    write_report(run_dir)
    page = (run_dir / 'report.html').read_text()
    assert '1 required cells are missing' in page and 'after stage 2 (b): a' in page
    assert json.loads((run_dir / 'forgetting.json').read_text())['BWT'] is None


def test_seeds_have_a_report_of_their_own(tmp_path):
    for seed, final in ((0, 40.0), (1, 50.0)):
        write_matrix(tmp_path / f'seed-{seed}' / 'matrix.json', ScoreMatrix(('a', 'b'), ((80.0, None), (final, 60.0))))
    write_report(tmp_path)
    blob = json.loads((tmp_path / 'forgetting.json').read_text())
    assert blob['BWT'] == -35.0
    assert blob['std']['BWT'] == pytest.approx(7.0710678)
    assert [member['name'] for member in blob['members']] == ['seed-0', 'seed-1']
    assert '±' in (tmp_path / 'report.html').read_text()


def test_errors_leave_the_old_report(run_dir):
    write_report(run_dir)
    before = (run_dir / 'report.html').read_bytes()
    (run_dir / 'matrix.json').write_text('{"schema": "coinkit.matrix/1"')
    with pytest.raises(DataError, match='not JSON'):
        write_report(run_dir)
    assert (run_dir / 'report.html').read_bytes() == before


def test_the_matrix_itself_is_not_touched(run_dir):
    write_report(run_dir)
    assert read_matrix(run_dir) == MATRIX


def _assert_balanced(page: str) -> None:
    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag not in ('meta', 'br', 'img', 'path', 'use', 'rect'):
                self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            if tag not in ('path', 'use', 'rect'):
                assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert checker.open == []


def test_scores_above_100_and_below_0_are_a_runs_own(run_dir):
    """CIDEr can take a caption score above 100, and the published reading of a judge goes below 0."""
    write_matrix(run_dir / 'matrix.json', ScoreMatrix(('a', 'b'), ((130.5, 10.0), (-4.0, 60.0)), (1.0, 104.0)))
    page = write_report(run_dir).read_text()
    assert '130.50' in page and json.loads((run_dir / 'forgetting.json').read_text())['BWT'] == -134.5
