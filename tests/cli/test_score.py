"""`coinkit score`: what it prints and writes, and the errors of its options."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from coinkit.cli import score
from coinkit.errors import ConfigError, DataError, UnknownName

LINES = [{'id': 'a', 'prediction': 'Unanswerable', 'references': ['unanswerable'], 'context': {}},
         {'id': 'b', 'prediction': 'Dune', 'references': ['dune'], 'context': {}},
         {'id': 'c', 'prediction': 'Dune', 'references': ['emma'], 'context': {}}]


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / 'predictions.jsonl'
    path.write_text(''.join(json.dumps(line) + '\n' for line in LINES))
    return path


def run(*words) -> int:
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.main(parser.parse_args([str(word) for word in words]))


def test_prints_metric_score_and_n(predictions, capsys):
    assert run(predictions, '--metric', 'ocrvqa_coin') == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed['metric'], printed['n']) == ('ocrvqa_coin', 3)
    assert printed['score'] == pytest.approx(200 / 3)


def test_options_reach_the_scorer_and_are_recorded(predictions, capsys):
    run(predictions, '--metric', 'ocrvqa_coin', '--option', 'unanswerable=upstream')
    printed = json.loads(capsys.readouterr().out)
    assert printed['score'] == pytest.approx(100 / 3)
    assert printed['switches'] == {'unanswerable': 'upstream', 'denominator': 'default'}


def test_annotations_and_per_sample(predictions, tmp_path, capsys):
    gold, out = tmp_path / 'gold.jsonl', tmp_path / 'out' / 'per_sample.jsonl'
    gold.write_text(''.join(json.dumps({'id': key, 'references': ['dune']}) + '\n' for key in 'abcde'))
    run(predictions, '--metric', 'vqa_exact_upper', '--annotations', gold, '--per-sample', out)
    printed = json.loads(capsys.readouterr().out)
    assert (printed['score'], printed['n'], printed['counts']['missing']) == (40.0, 5, 2)
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {'id': key, 'score': value} for key, value in zip('abcde', [0.0, 1.0, 1.0, 0.0, 0.0], strict=True)]


@pytest.mark.parametrize('words, error, message', [
    (['--metric', 'textvqa_mc4'], UnknownName, r"textvqa_mc4.*Did you mean 'textvqa_m4c'"),
    (['--metric', 'gqa', '--option', 'gqa_stripp=default'], ConfigError, r"gqa_stripp.*Did you mean 'gqa_strip'"),
    (['--metric', 'gqa', '--option', 'upstream'], ConfigError, 'K=V'),
    (['--metric', 'gqa', '--option', 'mode=old'], ConfigError, "unknown mode 'old'"),
    (['--metric', 'gqa', '--option', 'mode=null'], ConfigError, "unknown mode 'None'"),
    (['--metric', 'mllmcl_app', '--option', 'returned=true'], ConfigError, 'returned: given True'),
    (['--metric', 'textvqa_m4c'], DataError, "'a': 1 references")])
def test_bad_use(predictions, words, error, message):
    with pytest.raises(error, match=message):
        run(predictions, *words)


@pytest.mark.parametrize('text, pair', [('a=1', ('a', 1)), ('a=0.5', ('a', 0.5)), ('a=true', ('a', True)),
                                        ('a=b=c', ('a', 'b=c')), ("a='1'", ('a', '1')), ('a=', ('a', ''))])
def test_option_values(text, pair):
    assert score.parse_option(text) == pair


def test_corpus_metrics_have_no_score_per_sample(tmp_path):
    from coinkit.types import Score
    with pytest.raises(ConfigError, match='corpus metric'):
        score.write_per_sample(tmp_path / 'x', 'bleu', Score(1.0), ['a'])


def test_scoring_imports_no_torch(predictions):
    """Through the command, and every scorer there is; the captions' package too."""
    code = ('import sys; from coinkit.cli.main import main; from coinkit.registry import METRICS;'
            f'status = main(["score", {str(predictions)!r}, "--metric", "gqa"]);'
            '[METRICS.build({"type": name}) for name in METRICS.names(aliases=True)];'
            f'main(["score", {str(predictions)!r}, "--metric", "ucit_caption", "--option", "caption_tokenizer=simple"]);'
            'assert status == 0 and not {"torch", "transformers", "matplotlib"} & sys.modules.keys(), sys.modules.keys()')
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)


def test_the_door_in_tools_does_the_same(predictions):
    tool = Path(__file__).parents[2] / 'tools' / 'score.py'
    done = subprocess.run([sys.executable, str(tool), str(predictions), '--metric', 'ocrvqa_coin'], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        'metric': 'ocrvqa_coin', 'score': 200 / 3, 'n': 3,
        'counts': {'items': 3, 'missing': 0, 'unparsed': 0, 'excluded': 0},
        'scorer': 'ocrvqa_coin', 'switches': {'unanswerable': 'default', 'denominator': 'default'}}


def test_an_alias_says_which_scorer_it_is(predictions, capsys):
    boxes = predictions.with_name('boxes.jsonl')
    boxes.write_text(json.dumps({'id': '\ud800', 'prediction': '[0,0,1,1]', 'references': ['[0,0,1,1]']}))
    run(boxes, '--metric', 'grounding_coin_upstream', '--per-sample', boxes.with_name('out.jsonl'))
    printed = json.loads(capsys.readouterr().out)
    assert (printed['metric'], printed['scorer'], printed['score']) == ('grounding_coin_upstream', 'grounding_coin', 100.0)
    assert json.loads(boxes.with_name('out.jsonl').read_text()) == {'id': '\ud800', 'score': 1.0}


def test_the_table_of_a_metric_that_is_scored_elsewhere(predictions, tmp_path, capsys):
    run(predictions, '--metric', 'mllmcl_app', '--table', tmp_path / 'app.tsv')
    assert json.loads(capsys.readouterr().out)['score'] is None
    assert (tmp_path / 'app.tsv').read_text().splitlines() == ['index\tprediction', 'a\tUNANSWERABLE', 'b\tDUNE', 'c\tDUNE']
    predictions.write_text(json.dumps({'id': 'a', 'prediction': 'b \ud800'}))
    run(predictions, '--metric', 'mllmcl_app', '--table', tmp_path / 'app.tsv')
    assert (tmp_path / 'app.tsv').read_text().splitlines() == ['index\tprediction', 'a\tB ?'], 'no file holds half a pair'
    with pytest.raises(ConfigError, match='--table.*gqa is scored here'):
        run(predictions, '--metric', 'gqa', '--table', tmp_path / 'x.tsv')


def test_of_a_file_of_all_splits_those_of_the_predictions_count(tmp_path, capsys):
    problems = {str(i): {'answer': 1, 'choices': ['a', 'b'], 'split': split}
                for i, split in enumerate(['test', 'train', 'test', 'val', 'train'])}
    (tmp_path / 'problems.json').write_text(json.dumps(problems))
    (tmp_path / 'p.jsonl').write_text('{"id": "0", "prediction": "B"}\n')
    words = (tmp_path / 'p.jsonl', '--metric', 'scienceqa_coin', '--annotations', tmp_path / 'problems.json')
    assert run(*words) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)['score'], json.loads(told.out)['counts']['missing']) == (50.0, 1)
    assert 'are of the split test: 2 of its 5 records are divided by.' in told.err
    (tmp_path / 'p.jsonl').write_text('{"id": "0", "prediction": "B"}\n{"id": "3", "prediction": "B"}\n')
    run(*words)
    told = capsys.readouterr()
    assert json.loads(told.out)['n'] == 3 and 'split test and val: 3 of its 5' in told.err
