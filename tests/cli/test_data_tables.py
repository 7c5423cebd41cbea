"""What `coinkit data` shows of sizes: the tables at several widths, the sum at the end, and the mistakes of a config."""

from __future__ import annotations

import json
import os
import re
import sys

import pytest

from coinkit.cli import data_tables
from coinkit.cli.data_tables import show_report, to_get
from coinkit.cli.main import main
from coinkit.data.doctor.report import Line, Report

CONFIG = """
_pictures = {'pictures': dict(text='the moon', size='13 GB', pictures=82_783)}
def _task(name, **source):
    def file(split):
        return dict(type='InstructionJson', path=f'{name}/{split}.json', image_sources=_pictures, source=source[split])
    return dict(name=name, train=file('train'), test=file('test'), metric=dict(type='gqa'))
benchmark = dict(name='my', tasks=[
    _task('A', train=dict(text='the sun', size='226 MB'), test='the sun'),
    _task('B', train=dict(text='the stars', size='2 GiB', archive='stars'),
          test=dict(text='the stars', size='2 GiB', archive='stars'))])
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    path = tmp_path / 'my.py'
    path.write_text(CONFIG)
    return path


def run(*words) -> int:
    return main(['data', *map(str, words), '--workers', '1'])


def test_what_is_missing_has_its_announced_size_and_an_archive_counts_once(config, tmp_path, capsys):
    assert run(config, '--root', tmp_path / 'd', '--json', tmp_path / 'found.json') == 1
    out = capsys.readouterr().out
    assert re.search(r'A/train\.json +│ missing │ A train │ +about 226 MB │ the sun', out)
    assert re.search(r'A/test\.json +│ missing │ A test +│ +unknown │ the sun', out)
    assert re.search(r'B/train\.json +│ missing │ B train │ +part of 2\.15 GB │ the stars', out)
    assert re.search(r'pictures +│ missing │ A, B │ +82,783 │ about 13 GB │ the moon', out), 'one folder of two tasks'
    assert 'still to get: about 15.4 GB known, 1 of unknown size\n' in out  # 13 + 0.226 + 2.147
    blob = json.loads((tmp_path / 'found.json').read_text())
    assert blob['still_to_get'] == {'size': 13 * 10**9 + 226 * 10**6 + 2 * 2**30, 'known': 3, 'unknown': 1}
    places = {place['place'].removeprefix(f'{tmp_path}/d/'): place for place in blob['places']}
    assert places['pictures']['published'] == 82_783 and places['pictures']['expected_size'] == 13 * 10**9
    assert places['B/test.json']['archive'] == 'stars' and places['A/test.json']['expected_size'] is None


def test_what_is_there_has_its_own_size_and_is_not_to_get(config, tmp_path, capsys):
    (tmp_path / 'd' / 'pictures').mkdir(parents=True)
    for task in 'AB':
        (tmp_path / 'd' / task).mkdir()
        row = {'id': task, 'conversations': [{'from': 'human', 'value': 'q?'}, {'from': 'gpt', 'value': 'a'}]}
        (tmp_path / 'd' / task / 'train.json').write_text(json.dumps([row]))
    assert run(config, '--root', tmp_path / 'd', '--check') == 1
    out = capsys.readouterr().out
    assert re.search(r'A/train\.json +│ present +│ A train │ +1 │ not published │ +\d+ B │ +│', out)
    assert re.search(r'pictures +│ present │ A, B │ +82,783 │\n', out), 'no size column where nothing has one'
    assert 'still to get: about 2.15 GB known, 1 of unknown size\n' in out, 'the archive counts while a part is missing'


@pytest.mark.parametrize('lines, told', [
    ([], ''), ([('a', 'present', 5)], ''), ([('a', 'missing', 10**9)], 'still to get: about 1 GB'),
    ([('a', 'missing', None), ('b', 'missing', None)], 'still to get: 2 of unknown size'),
    ([('a', 'incomplete', 10**9), ('b', 'missing', 10**9)], 'still to get: about 1 GB')])
def test_the_sum(lines, told):
    report = Report('b', 'r', [Line('file', place, [], state, expected_size=size) for place, state, size in lines])
    assert to_get(report) == told


def a_report() -> Report:
    where = '/data/coin/playground/Instructions_Original'
    report = Report('coin', '/data/coin', [
        Line('file', f'{where}/ScienceQA/train.json', ['ScienceQA train'], 'missing', published=12_726,
             expected_size=7_710_000, source='the Hugging Face dataset Zacks-Chen/CoIN'),
        Line('file', f'{where}/GQA/train.json', ['GQA train'], 'incomplete', size=112_300_000, expected_size=225 * 10**6)])
    report.tell('missing_file', f'{where}/ScienceQA/train.json', f"there is none, nor {where}/x.json; see 'mydata/coin/y'")
    return report


@pytest.mark.parametrize('width', [80, 120, 200])
def test_tables_fit_the_terminal_and_nothing_is_cut(width, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr(data_tables.shutil, 'get_terminal_size', lambda: os.terminal_size((width, 24)))
    monkeypatch.setenv('COLUMNS', str(width))
    assert show_report(a_report()) == 1
    out = capsys.readouterr().out
    table = [line for line in out.splitlines() if '│' in line]
    assert table and max(map(len, table)) <= width and '…' not in out
    told = ''.join(line.split('│')[1].strip() for line in table)
    assert 'playground/Instructions_Original/ScienceQA/train.json' in told
    assert 'about 7.71 MB' in out and '112.3 MB of about 225 MB' in out
    assert ('the Hugging Face dataset Zacks-Chen/CoIN' in ''.join(table)) is (width == 200), 'the list below tells it'
    if width == 80:
        assert [line.split('│')[1].strip() for line in table][:3] == ['playground/', 'Instructions_Original/',
                                                                      'ScienceQA/train.json']


def test_the_list_tells_places_below_the_root(capsys):
    show_report(a_report())
    listed = capsys.readouterr().out.split('not ready:')[1]
    assert listed.startswith('\n  - playground/Instructions_Original/ScienceQA/train.json: there is none, nor playground/')
    assert "'mydata/coin/y'" in listed


@pytest.mark.parametrize('option, why', [
    ("benchmark.tasks.0.train.source={'text':'x','sise':'1 GB'}", r"A train: InstructionJson: source: unknown key 'sise'\. "
                                                                  r"Did you mean 'size'"),
    ("benchmark.tasks.0.train.image_sources={'a':{'text':'x','size':'1 GBB'}}", r"A train: .*\.size: unknown unit 'GBB'"),
    ("benchmark.tasks.0.train.image_sources={'a':3}", r'benchmark\.tasks\.0\.train\.image_sources: given'),
    ("benchmark.downloads=[{'repo':'a/b','size':'big'}]", r"benchmark\.downloads\.0\.size: given 'big', allowed: a number")])
def test_wrong_sizes_are_told_before_anything_is_looked_at(config, tmp_path, capsys, option, why):
    assert run(config, '--root', tmp_path / 'd', '--cfg-options', option) == 2
    told = capsys.readouterr()
    assert re.search(why, told.err) and 'looked at' not in told.out
