"""`coinkit analyze`: what it prints in each format, what it writes where, and the errors of bad input."""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys

import pytest

from coinkit.cli import analyze
from coinkit.errors import CoinkitError, ConfigError, DataError
from coinkit.report.matrix_io import read_matrix, write_matrix
from coinkit.types import ScoreMatrix


def matrix(final: float) -> ScoreMatrix:
    return ScoreMatrix(('a', 'b'), ((80.0, None), (final, 60.0)))


def run(*words) -> int:
    parser = argparse.ArgumentParser()
    analyze.add_arguments(parser)
    return analyze.main(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def run_dir(tmp_path):
    write_matrix(tmp_path / 'fine_tune' / 'matrix.json', matrix(40.0))
    return tmp_path / 'fine_tune'


@pytest.fixture
def csv_file(tmp_path):
    (tmp_path / 'bare.csv').write_text('stage,a,b\nzero-shot,1,2\n1,80,\n2,40,60\n')
    return tmp_path / 'bare.csv'


def test_a_run_directory_prints_tables_and_gets_its_report(run_dir, capsys):
    assert run(run_dir) == 0
    printed = capsys.readouterr()
    assert '80.00' in printed.out and 'BWT -40.00 (denominator T-1)' in printed.out
    assert (run_dir / 'report.html').exists() and (run_dir / 'figures' / 'matrix.svg').exists()
    assert str(run_dir / 'report.html') in printed.err


def test_a_bare_matrix_writes_nothing_without_out(csv_file, capsys):
    run('--matrix', csv_file)
    assert 'bare: score after each stage' in capsys.readouterr().out
    assert [path.name for path in csv_file.parent.iterdir()] == ['bare.csv']


def test_json(csv_file, run_dir, capsys):
    run(run_dir, '--matrix', csv_file, '--format', 'json', '--bwt-denominator', 'T')
    blob = json.loads(capsys.readouterr().out)
    assert blob['bwt_denominator'] == 'T'
    assert [(entry['name'], entry['BWT'], entry['BWT_over_T']) for entry in blob['runs']] == [
        ('fine_tune', -40.0, -20.0), ('bare', -40.0, -20.0)]
    assert blob['runs'][1]['matrix']['zero_shot'] == [1.0, 2.0]


def test_csv_and_latex(csv_file, capsys):
    run('--matrix', csv_file, '--format', 'csv')
    tables = capsys.readouterr().out.split('\n\n')
    assert next(csv.reader(io.StringIO(tables[1])))[:4] == ['run', 'ACC', 'MFN', 'MFT']
    run('--matrix', csv_file, '--format', 'latex')
    assert capsys.readouterr().out.count(r'\begin{tabular}') == 3


def test_html_on_standard_output(csv_file, capsys):
    run('--matrix', csv_file, '--format', 'html')
    assert capsys.readouterr().out.startswith('<!doctype html>')


def test_the_denominator_of_the_headline(csv_file, capsys):
    run('--matrix', csv_file, '--bwt-denominator', 'T')
    assert 'BWT -20.00 (denominator T)' in capsys.readouterr().out


def test_out_has_everything_and_its_matrices_read_back(run_dir, csv_file, tmp_path):
    out = tmp_path / 'out'
    run(run_dir, '--matrix', csv_file, '--out', out)
    names = {str(path.relative_to(out)) for path in out.rglob('*') if path.is_file()}
    assert {'report.html', 'forgetting.json', 'metrics.csv', 'metrics.tex', 'tasks-bare.csv', 'matrix-bare.csv',
            'matrix-bare.json', 'matrix-bare.tex', 'figures/comparison.png', 'figures/comparison.svg'} <= names
    assert read_matrix(out / 'matrix-bare.csv') == read_matrix(out / 'matrix-bare.json') == read_matrix(csv_file)
    assert not (run_dir / 'report.html').exists()


def test_seeds_are_averaged(tmp_path, capsys):
    for seed, final in ((0, 40.0), (1, 50.0)):
        write_matrix(tmp_path / f'seed-{seed}' / 'matrix.json', matrix(final))
    run(tmp_path)
    assert 'BWT -35.00 ±7.07' in capsys.readouterr().out


def test_fractions_are_pointed_out(tmp_path, capsys):
    (tmp_path / 'm.json').write_text('[[0.8, null], [0.4, 0.6]]')
    run('--matrix', tmp_path / 'm.json')
    assert 'fractions?' in capsys.readouterr().err


@pytest.mark.parametrize('words, error, message', [
    ([], ConfigError, 'nothing to analyse'), (['nowhere'], DataError, 'nowhere: there is no such run directory'),
    (['--matrix', 'none.csv'], DataError, 'none.csv: there is no'), (['.'], DataError, 'not a run directory'),
    (['--matrix', '.'], ConfigError, 'this is a folder')])
def test_bad_use(words, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run(*words)


@pytest.mark.parametrize('content', ['', 'words', '{}', '[]', '[[1, 2], [3]]', 'a,b\n1,x\n2,3', '[[101]]',
                                     '{"schema": "x"}'])
def test_bad_matrices_are_one_clear_error(content, tmp_path):
    path = tmp_path / 'bad'
    path.write_text(content)
    with pytest.raises(CoinkitError, match=str(path)):
        run('--matrix', path)


def test_out_that_is_a_file(csv_file):
    with pytest.raises(ConfigError, match='this is a file'):
        run('--matrix', csv_file, '--out', csv_file)


@pytest.mark.parametrize('words, banned', [
    (['--format', 'json'], {'torch', 'transformers', 'tensorboard', 'matplotlib'}),
    (['--out', 'out'], {'torch', 'transformers', 'tensorboard', 'matplotlib.pyplot'})])
def test_analysis_imports_nothing_heavy(csv_file, words, banned, tmp_path):
    code = ('import argparse, sys; from coinkit.cli import analyze; p = argparse.ArgumentParser();'
            f'analyze.add_arguments(p); analyze.main(p.parse_args(["--matrix", {str(csv_file)!r}, *{words!r}]));'
            f'assert not {banned!r} & sys.modules.keys(), {banned!r} & sys.modules.keys()')
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, cwd=tmp_path)
