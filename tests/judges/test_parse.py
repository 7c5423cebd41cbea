"""Reading a judge's answer: the published vectors, the strict rule's own, and no text that breaks either."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.cli import score as score_verb
from coinkit.errors import ConfigError, DataError
from coinkit.judges.parse import JudgeParse, add_up, final_score, read_strict, read_upstream
from coinkit.registry import METRICS
from coinkit.types import Prediction

VECTORS = Path(__file__).parents[1] / 'golden' / 'eval' / 'other_eval_vectors.json'
CASES = [case for case in json.loads(VECTORS.read_text())['cases'] if case['scorer'] == 'judge_parse_coin']


@pytest.mark.parametrize('case', CASES, ids=lambda case: case['id'])
def test_upstream_reproduces_the_published_value(case):
    rows = [Prediction(case['id'], case['prediction'], (), case['context'])]
    assert METRICS.build({'type': 'judge_parse_coin', 'mode': 'upstream'}).score(rows).value == case['expected']


@pytest.mark.parametrize('text, value', [
    ('8', 8), (' 8 \n', 8), ('8.5', 8.5), ('.5', .5), ('8.', 8), ('0', 0), ('10', 10), ('10.0', 10), ('-0', 0), ('+7', 7),
    ('8/10', 8), ('8 / 10', 8), ('8 /10.', 8), ('9.5/10', 9.5), ('10/10', 10), ('7 out of 10', 7), ('7 OUT OF 10.', 7),
    ('7  out  of  10', 7), ('Score: 10', 10), ('score 3', 3), ('Rating: 3/10', 3), ('RATING:4', 4),
    ('Score : 6 out of 10', 6)])
def test_strict_reads(text, value):
    assert read_strict(text) == read_strict(str(value)) and read_strict(text).value == value and read_strict(text).parsed
    assert math.copysign(1, read_strict(text).value) == 1


@pytest.mark.parametrize('text', [
    '', ' ', '11', '-3', '10.1', '100', 'nan', 'inf', '-inf', 'eight', '8 points', 'The score is 7 out of 10', '1 2', '8/5',
    '8/100', '7 out of 100', '**8**', '8, because', '8\n9', 'Score: ', 'Overall score: 8', '8,5', '/10', '1_0', '８',
    '8..', '²'])
def test_strict_leaves_everything_else_unparsed(text):
    assert read_strict(text).value == 0 and not read_strict(text).parsed


@pytest.mark.parametrize('text, value', [
    ('8 / 10', 0), ('9.5/10', 0), ('Rating: 3/10', 0), ('½/10', 0), ('²/3', 0), ('/10', 0), ('11/10', 0), ('7/10 or 9', 7),
    ('Score: 10', 1), ('it is 9.', 9), ('Score: 0', 0), ('none', 0), ('inf', 0), ('-inf', 0), ('1e400', 0), ('1_0', 10),
    ('-3', -3), ('10.0001', 0)])
def test_upstream_reads_as_published(text, value):
    assert read_upstream(text).value == value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text() | st.text(st.sampled_from('019.,/+- :\n\tscoreSCORE\u0661\xb2outf'), max_size=30))
def test_no_text_breaks_a_reader(text):
    assert 0 <= read_strict(text).value <= 10
    assert read_upstream(text).value <= 10 and math.isfinite(read_upstream(text).value)


@pytest.mark.parametrize('piece', [' ', '1', '.', '/', '10/', '\n', '+', '9.', 'score', '\u0661'])
def test_long_answers_of_a_judge_take_no_time(piece):
    many = piece * (200_000 // len(piece))
    for text in (many, f'score{many}x', f'8{many}x', f'{many}8', f'Rating:{many}8 / 10', f'8 out{many}of 10x'):
        start = time.process_time()
        assert 0 <= read_strict(text).value <= 10 and read_upstream(text).value <= 10
        assert time.process_time() - start < 1, text[:10]


def test_score_is_percent_of_what_could_be_reached():
    assert final_score(13.0, 2, 'strict') == 65.0
    assert final_score(1.0, 3, 'strict') == pytest.approx(100 / 30)
    assert (final_score(1.0, 3, 'upstream'), final_score(.25, 1, 'upstream'), final_score(.75, 1, 'upstream')) == (3, 2, 8)
    assert (final_score(5.75, 1, 'upstream'), final_score(5.75, 1, 'strict')) == (57, 57.5), 'divided first, as published'
    assert final_score(0.0, 0, 'strict') is None
    with pytest.raises(DataError, match='add up to'):
        final_score(-1e308, 1, 'upstream')


def test_published_ratings_are_added_one_by_one():
    rows = [Prediction(str(i), text) for i, text in enumerate(['0.1'] * 10)]  # 0.99..., and not 1
    assert add_up([read_upstream('0.1')] * 10, 'upstream') < 1 == add_up([read_strict('0.1'), None] * 10, 'strict')
    assert JudgeParse().score(rows).value == 1.0


@pytest.mark.parametrize('given', [{'mode': []}, {'mode': None}, {'mode': 1}, {'judge_parse': {}}, {'judge_parse': ''},
                                   {'denominator': []}, {'denominator': 'strict'}])
def test_switches_that_are_none_are_told(given):
    with pytest.raises(ConfigError, match=f'judge_parse_coin: {next(iter(given))}: unknown'):
        JudgeParse(**given)


def test_counts_of_a_file_of_judgements():
    rows = [Prediction('a', '8'), Prediction('b', 'good'), Prediction('c', None), Prediction('d', 'Score: 10')]
    score = JudgeParse().score(rows)
    assert score.value == 45.0 and score.per_sample == (.8, 0, 0, 1)
    assert score.counts == {'items': 4, 'missing': 1, 'unparsed': 1}
    assert score.details == {'scorer': 'judge_parse_coin', 'switches': {'judge_parse': 'strict', 'denominator': 'default'}}
    by_rows = JudgeParse(denominator='upstream').score(rows)
    assert (by_rows.value, by_rows.per_sample, by_rows.counts['items']) == (60.0, (.8, 0, None, 1), 3)
    assert JudgeParse(denominator='upstream').score([rows[0], rows[0]]).counts['items'] == 2
    assert JudgeParse(mode='upstream', judge_parse='strict', denominator='default').score(rows).value == 45.0
    assert JudgeParse(mode='upstream').switches == {'judge_parse': 'upstream', 'denominator': 'upstream'}
    assert JudgeParse().score([]).value is None
    with pytest.raises(DataError, match="'a'"):
        JudgeParse().score([rows[0], rows[0]])
    with pytest.raises(ConfigError, match='judge_parse'):
        JudgeParse(judge_parse='lax')
    with pytest.raises(ConfigError, match='denominator'):
        JudgeParse(denominator='rows')


def test_the_score_verb_reads_a_file_of_judgements(tmp_path, capsys):
    import argparse

    path = tmp_path / 'judgements.jsonl'
    path.write_text(''.join(json.dumps({'id': str(i), 'prediction': text}) + '\n' for i, text in enumerate(['8', '8 / 10'])))
    parser = argparse.ArgumentParser()
    score_verb.add_arguments(parser)
    for option, value in (('mode=default', 80.0), ('mode=upstream', 40.0)):
        assert score_verb.main(parser.parse_args([str(path), '--metric', 'judge_parse_coin', '--option', option])) == 0
        assert json.loads(capsys.readouterr().out)['score'] == value
