"""Caption scores: equal to the COCO toolkit's own pipeline, null with a reason where Java is missing, lined up by row.

The numbers of `TOOLKIT` are what pycocoevalcap 1.2 itself (PTBTokenizer, Bleu, Meteor, Rouge, Cider) gives for `PAIRS`.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinkit.errors import ConfigError, DataError
from coinkit.metrics import captions
from coinkit.metrics.ucit import UCITCaption
from coinkit.types import Prediction

PAIRS = [('A man rides a horse on the beach.', ('a man riding a horse along a beach', 'Man on a horse at the sea')),
         ('two dogs are playing with a ball', ('Two dogs play with a red ball.', 'dogs playing on the grass')),
         ("a red mug on a desk, isn't it?", ("there's a red mug standing on the desk",)),
         ('café tables', ('Tables of a café in front of the “Old House”', 'people sit at café tables'))]
TOOLKIT = {'BLEU-1': 68.5402597405397, 'BLEU-2': 44.08137184794881, 'BLEU-3': 21.2671322688586,
           'BLEU-4': 0.0027493571448053374, 'METEOR': 37.29531025814985, 'ROUGE-L': 60.63190131124914,
           'CIDEr': 185.67149546911185}
ROWS = [Prediction(str(i), text, references) for i, (text, references) in enumerate(PAIRS)]


@pytest.mark.slow
def test_the_seven_scores_are_those_of_the_toolkit():
    score = UCITCaption().score(ROWS)
    assert score.details['parts'] == pytest.approx(TOOLKIT) and list(score.details['parts']) == list(captions.NAMES)
    assert score.value == pytest.approx(sum(TOOLKIT.values()) / 7)
    assert score.per_sample is None and score.counts == {'items': 4, 'missing': 0, 'unparsed': 0}
    assert 'why' not in score.details and 'note' not in score.details


def test_treebank_tokens_and_the_scores_without_meteor(monkeypatch):
    monkeypatch.setattr(captions, 'meteor_score', lambda gold, found: TOOLKIT['METEOR'])
    assert UCITCaption().score(ROWS).details['parts'] == pytest.approx(TOOLKIT)


def test_odd_line_breaks_do_not_shift_the_captions_that_follow():
    texts = ['a\u2028b', '', 'c\rd\x85e\x0bf\n\ng', '\ud800 x', '…', 'last one']
    found, gold = captions.tokenized(texts, [['x'], ['y\nz'], ['', 'w']] * 2, captions.ptb_tokens)
    assert [found[row][0] for row in (0, 1, 2, 5)] == ['a b', '', 'c d e f g', 'last one']
    assert gold[1] == ['y z'] and gold[5] == ['', 'w']


def test_the_simple_tokeniser_is_marked_and_has_no_meteor():
    score = UCITCaption(caption_tokenizer='simple').score(ROWS)
    parts = score.details['parts']
    known = [value for value in parts.values() if value is not None]
    assert parts['METEOR'] is None and len(known) == 6 and score.value == pytest.approx(sum(known) / 6)
    assert 'not comparable' in score.details['note'] and 'METEOR' in score.details['why']
    assert score.details['switches']['caption_tokenizer'] == 'simple'
    assert captions.simple_tokens(["It's a T-shirt, (café)!", '?!']) == ["it's a t-shirt café", '']


def test_without_java_all_is_null_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    score = UCITCaption().score(ROWS)
    assert score.value is None and set(score.details['parts'].values()) == {None}
    assert 'no `java` on PATH' in score.details['why'] and "caption_tokenizer='simple'" in score.details['why']
    assert UCITCaption(caption_tokenizer='simple').score(ROWS).value > 0


@pytest.mark.parametrize('script, why', [
    ('exit 3', '`java -version` failed'),
    ('[ "$1" = -version ] || { echo no main class >&2; exit 1; }', 'gave 0 lines for 11 captions.*no main class'),
    ('[ "$1" = -version ] || [ "$1" = -jar ] || /bin/cat', 'METEOR stopped')])
def test_a_java_that_does_not_work_gives_null_too(monkeypatch, tmp_path, script, why):
    java = tmp_path / 'java'
    java.write_text(f'#!/bin/sh\n{script}\n')
    java.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    details = UCITCaption().score(ROWS).details
    assert re.search(why, details['why']) and set(details['parts'].values()) == {None}


def test_the_package_is_missed_before_a_run_starts(monkeypatch):
    assert UCITCaption.preflight() == []
    monkeypatch.setattr(captions, 'PACKAGE', 'no_such_package')
    (problem,) = UCITCaption.preflight(caption_tokenizer='simple')
    assert 'no_such_package' in problem.message and 'coinkit[caption]' in problem.cure
    with pytest.raises(ConfigError, match='no_such_package'):
        UCITCaption().score(ROWS)


def test_options_and_rows():
    with pytest.raises(ConfigError, match="caption_tokenizer: unknown tokeniser 'ptbb'"):
        UCITCaption(caption_tokenizer='ptbb')
    assert 'upstrem' in UCITCaption.preflight(mode='upstrem')[0].message
    with pytest.raises(DataError, match="'7': no reference caption"):
        UCITCaption(caption_tokenizer='simple').score([Prediction('7', 'x')])
    with pytest.raises(DataError, match='duplicate'):
        UCITCaption().score([ROWS[0], ROWS[0]])
    assert UCITCaption().score([]).value is None
    assert UCITCaption(mode='upstream').by_position and not UCITCaption().by_position


def test_a_missing_caption_counts_as_an_empty_one():
    rows = [*ROWS, Prediction('9', None, ('a cat',))]
    default, upstream = (UCITCaption(mode=mode, caption_tokenizer='simple') for mode in ('default', 'upstream'))
    assert default.score(rows).counts == {'items': 5, 'missing': 1, 'unparsed': 0}
    assert upstream.score(rows).counts == {'items': 4, 'missing': 1, 'unparsed': 0}
    assert default.score(rows).value < upstream.score(rows).value == upstream.score(ROWS).value


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
@settings(deadline=None, max_examples=30)
def test_any_caption_has_a_score(text, reference):
    scorer = UCITCaption(caption_tokenizer='simple')
    assert scorer.score([*ROWS, Prediction('9', text, (reference, 'a cat'))]).value >= 0
    try:
        assert scorer.score([Prediction('9', text, (reference,))]).value >= 0
    except DataError as error:
        assert 'no reference caption holds a word' in str(error) and not captions.simple_tokens([reference])[0]
