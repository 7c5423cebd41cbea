"""MLLM-CL's scorers beyond the vectors: switches, what the context must hold, counting, the table of APP."""

from __future__ import annotations

import pytest

from coinkit.errors import ConfigError, DataError
from coinkit.metrics.containment import has_words
from coinkit.metrics.mllm_cl_ability import FORMULAS, MLLMCLOCR, MLLMCLVP, MLLMCLApp
from coinkit.metrics.mllm_cl_domain import MLLMCLRS, MLLMCLFin, MLLMCLMed, MLLMCLSci
from coinkit.types import Prediction

MAP = {'image': 'x/MapQA_3.png', 'prompt': 'Which states have the lowest?'}


def value(scorer, text: str, gold: str, **context) -> float:
    (found,) = scorer.score([Prediction('1', text, (gold,), context)]).per_sample
    return found


@pytest.mark.parametrize('text, gold, substring, word', [
    ('30', '3', 1.0, 0.0), ('3 cars', '3', 1.0, 1.0), ('13 cars', '3', 1.0, 0.0), ('it is 3.', '3', 1.0, 1.0),
    ('rural; urban', 'rural', 0.0, 1.0), ('a.b', 'a.b', 0.0, 0.0), ('going ahead!', 'going ahead', 1.0, 1.0)])
def test_rs_by_substring_and_by_word(text, gold, substring, word):
    assert value(MLLMCLRS(), text, gold) == value(MLLMCLRS(substring_match='upstream'), text, gold) == substring
    assert value(MLLMCLRS(substring_match='word'), text, gold) == word


def test_words():
    assert has_words('(a) cat', 'a') and not has_words('cat', 'a') and has_words('x (a).', '(a)')
    assert not has_words('anything', '') and not has_words('café', 'caf')


def test_med_and_fin():
    assert value(MLLMCLMed(), 'No lesion', 'no') == 1.0 == value(MLLMCLMed(), 'Nodule', 'no')
    assert value(MLLMCLMed(substring_match='word'), 'Nodule', 'no') == 0.0
    assert value(MLLMCLFin(), ' Y e.s', 'YES') == 1.0
    assert value(MLLMCLFin(), '1.5', '1.5') == 0.0, 'a gold with a period cannot be met'


@pytest.mark.parametrize('scorer', [MLLMCLRS, MLLMCLMed, MLLMCLFin, MLLMCLSci])
def test_unanswerable(scorer):
    context = {'image': 'VQA_1.png'}
    assert value(scorer(), 'Unanswerable', 'unanswerable', **context) == 1.0
    assert value(scorer(unanswerable='upstream'), 'Unanswerable', 'unanswerable', **context) == 0.0


@pytest.mark.parametrize('text, gold, trimmed, as_published', [
    ('Ohio, Texas', 'Texas, Ohio', 1.0, 0.0), ('Ohio', 'Texas, Ohio', 0.5, 0.0),
    ('ohio,utah', 'Ohio,Iowa,Utah', 2 / 3, 2 / 3),
    ('', 'Ohio', 0.0, 0.0)])
def test_states_by_recall(text, gold, trimmed, as_published):
    assert value(MLLMCLSci(), text, gold, **MAP) == pytest.approx(trimmed)
    assert value(MLLMCLSci(mapqa_trim='upstream'), text, gold, **MAP) == pytest.approx(as_published)


def test_science_by_the_name_of_the_picture():
    assert value(MLLMCLSci(), 'It is B', 'b', image=['Sci/images/TQA_1.png']) == 0.0
    assert value(MLLMCLSci(), 'It is B', 'b', image='Other_1.png', prompt='q') == 1.0
    for context in ({'prompt': 'q'}, {'image': [], 'prompt': 'q'}, {'image': None, 'prompt': 'q'}):  # no picture
        assert value(MLLMCLSci(), 'It is B', 'b', **context) == 1.0
    for context in ({}, {'image': 3}, {'image': 'MapQA_1.png'}, {'image': []}):
        with pytest.raises(DataError, match="'1': context has no (image|prompt)"):
            value(MLLMCLSci(), 'a', 'a', **context)


def test_ocr():
    rows = [Prediction(str(i), 'X^2', ('y', 'x ^ 2'), {key: kind}) for i, (key, kind) in enumerate(
        [('category', FORMULAS), ('answer_type', FORMULAS), ('category', 'Scene Text-centric VQA')])]
    assert MLLMCLOCR().score(rows).per_sample == (0.0, 0.0, 0.0)
    rows = [Prediction('1', 'so x^2\n', ('y', 'x ^ 2'), {'answer_type': FORMULAS}),
            Prediction('2', 'so x^2', ('z',), {'category': 'other'})]
    assert MLLMCLOCR().score(rows).value == 50.0
    assert MLLMCLOCR(mode='upstream').score(rows).value == 0.1, 'hits / 10, whatever the number of items'
    assert value(MLLMCLOCR(substring_match='word'), '1234', '123', category='x') == 0.0
    with pytest.raises(DataError, match="'1': context has no category"):
        value(MLLMCLOCR(), 'a', 'a')


def test_a_blank_reference_of_ocr_is_no_gold_answer():
    row = Prediction('1', 'zzz', ('', '12', ' '), {'category': 'x'})
    assert (MLLMCLOCR().score([row]).value, MLLMCLOCR(mode='upstream').score([row]).per_sample) == (0.0, (1.0,))
    with pytest.raises(DataError, match="'1': its reference answers are blank"):
        MLLMCLOCR().score([Prediction('1', 'zzz', ('', ' '), {'category': 'x'})])


def test_vp_reports_counting_apart():
    rows = [Prediction('1', '4', ('4',), {'task': 'Count'}), Prediction('2', 'A', ('(B)',), {'task': 'Depth'}),
            Prediction('3', None, ('2',), {'type': 'count'})]
    score = MLLMCLVP().score(rows)
    assert score.value == pytest.approx(100 / 3)
    assert (score.details['counting'], score.details['counting_items']) == (50.0, 2)
    assert MLLMCLVP(mode='upstream').score(rows).details['counting'] == 100.0
    assert MLLMCLVP().score(rows[1:2]).details['counting'] is None
    assert value(MLLMCLVP(substring_match='word'), 'cat', 'A') == 0.0 == value(MLLMCLVP(substring_match='word'), '14', '4')


def test_app_has_a_table_and_no_score_of_its_own():
    rows = [Prediction('ALL_17', ' b\n', ()), Prediction('ALL_18', None, ()), Prediction('19', 'A', ())]
    score = MLLMCLApp().score(rows)
    assert score.value is None and '--table' in score.details['why'] and score.counts['missing'] == 1
    assert list(MLLMCLApp().table(rows)) == [('index', 'prediction'), ('17', 'B'), ('18', 'Z'), ('19', 'A')]
    assert MLLMCLApp(returned=61.5).score(rows).value == 61.5
    assert MLLMCLApp.preflight(mode='upstream') == [] and MLLMCLApp.preflight(returned=61.5)
    for given in (161.5, True, False, 'all', float('nan'), 10**400):
        with pytest.raises(ConfigError, match='returned'):
            MLLMCLApp(returned=given)
