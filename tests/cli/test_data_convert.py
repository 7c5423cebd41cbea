"""`coinkit data convert`: rows where the benchmark looks for them, or elsewhere; what is told, and what is refused."""

from __future__ import annotations

import argparse
import json

import pytest

from coinkit.cli import data_convert
from coinkit.config.benchmarks import load_benchmark
from coinkit.errors import ConfigError, DataError
from coinkit.registry import DATASETS
from coinkit.testing.layouts import make_gqa, make_imagenet, make_scienceqa


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    data_convert.add_arguments(parser)
    return data_convert.run(parser.parse_args(list(map(str, arguments))))


def test_the_benchmark_finds_what_was_converted(tmp_path, capsys):
    make_scienceqa(tmp_path, 4)
    assert command('scienceqa', '--root', tmp_path, '--style', 'diverse') == 0
    told = capsys.readouterr().out
    assert 'train: nothing was left out.' in told and '/s' in told
    assert f'Image paths are relative to {tmp_path / "cl_dataset"}.' in told
    task = load_benchmark('coin', options=["benchmark.style='diverse'"]).benchmark.tasks[0]
    for given, count in ((task.train, 4), (task.test, 2)):
        given = {**given, 'root': str(tmp_path)}
        assert DATASETS.get(given['type']).preflight(**{k: v for k, v in given.items() if k != 'type'}) == []
        assert len(DATASETS.build(given)) == count


def test_out_takes_json_lines(tmp_path, capsys):
    make_gqa(tmp_path / 'in', 3)
    command('GQA', '--root', tmp_path / 'in', '--out', tmp_path / 'out', '--split', 'train', '--instruction', 'Say: {}')
    lines = (tmp_path / 'out/GQA/train.jsonl').read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0])['conversations'][0]['value'].startswith('<image>\nSay: ')
    assert not (tmp_path / 'out/GQA/test.jsonl').exists()


def test_what_was_left_out_is_told(tmp_path, capsys):
    written = make_gqa(tmp_path, 3)
    written.images[0].unlink()
    command('gqa', '--root', tmp_path, '--out', tmp_path, '--only-with-images')
    told = capsys.readouterr().out
    assert 'train: Left out: 1 because its picture is not there (00000000).' in told
    assert 'test: nothing was left out.' in told


def test_files_that_are_there_are_kept(tmp_path, capsys):
    make_gqa(tmp_path, 3)
    there = tmp_path / 'playground/Instructions_Original/GQA/test.json'
    there.parent.mkdir(parents=True)
    there.write_text('[]')
    with pytest.raises(ConfigError, match='GQA/test.json: is there already. Say --overwrite'):
        command('gqa', '--root', tmp_path)
    assert there.read_text() == '[]' and not there.with_name('train.json').exists()
    command('gqa', '--root', tmp_path, '--overwrite')
    assert len(json.loads(there.read_text())) == 2


@pytest.mark.parametrize(('arguments', 'message'), [
    (['gpa'], "unknown source 'gpa'. Did you mean 'gqa'"), (['gqa', '--style', 'origina'], "Did you mean 'original'"),
    (['gqa', '--benchmark', 'ucitt'], "Did you mean 'ucit'"), (['vqav2'], 'there is no such file or folder'),
    (['gqa', '--root', '/nowhere/at/all'], "there is no folder '/nowhere/at/all'")])
def test_wrong_usage(tmp_path, arguments, message):
    make_gqa(tmp_path, 1)
    with pytest.raises(ConfigError, match=message):
        command(*arguments[:1], *(['--root', tmp_path] if '--root' not in arguments else []), *arguments[1:])


@pytest.mark.parametrize('text', ['Answer with one word.', ''])
def test_an_instruction_without_a_place_for_the_question_is_refused(tmp_path, text):
    make_gqa(tmp_path, 1)
    with pytest.raises(ConfigError, match='no place for the question. Write {}'):
        command('gqa', '--root', tmp_path, '--out', tmp_path / 'out', '--instruction', text)
    assert not (tmp_path / 'out').exists()


def test_images_are_asked_by_the_instruction_alone(tmp_path):
    make_imagenet(tmp_path, 1)
    command('imagenet', '--root', tmp_path, '--out', tmp_path / 'out', '--split', 'train', '--instruction', 'Name it.')
    row = json.loads((tmp_path / 'out/ImageNet/train.jsonl').read_text().splitlines()[0])
    assert row['conversations'][0]['value'] == '<image>\nName it.'


def test_a_broken_file_ends_in_one_error_and_no_rows(tmp_path):
    written = make_gqa(tmp_path, 3)
    written.files['GQA/train_balanced_questions'].write_text('{"1": {')
    with pytest.raises(DataError, match='train_balanced_questions.json'):
        command('gqa', '--root', tmp_path, '--out', tmp_path / 'out')
    assert not list((tmp_path / 'out').rglob('*.*'))
