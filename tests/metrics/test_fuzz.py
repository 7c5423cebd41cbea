"""Whatever a model writes, a scorer gives values in its range, or an error of ours: no other exception, in any mode."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coinkit.errors import DataError
from coinkit.metrics.files import annotations, predictions
from coinkit.metrics.grounding import parse_coin, parse_minigpt, parse_minigpt_default, parse_numbers
from coinkit.metrics.m4c import normalise, official
from coinkit.metrics.run import score_files
from coinkit.registry import METRICS
from coinkit.types import Prediction

CONTEXT = {'num_choices': 4, 'gold_index': 1, 'choices': ['a', 'b', 'c', 'd'], 'image': 'MapQA_1.png', 'size': [640, 480],
           'prompt': 'Which states?', 'category': 'x', 'question_type': 'free_form', 'answer_type': 'list',
           'answer_bbox': '[0.1,0.2,0.3,0.4]', 'origin_answer_bbox': [0.1, 0.2, 0.3, 0.4]}
SCORERS = [name for name in METRICS.names() if name != 'ucit_caption']
REFERENCES = {'grounding_coin': (), 'grounding_minigpt': (), 'textvqa_m4c': ('a', 'b') * 5}
anything = st.text(st.characters(), max_size=40)  # lone surrogates and control characters too
telling = st.text(st.sampled_from('019.,-+eE/[]{}<>() ABbz\n\t_"\'²½٣五İß\0'), max_size=40)
answers = anything | telling | st.sampled_from([
    'The answer is B', '1' * 5000, '{<1><2><3><4>}', '{<' + '9' * 5000 + '><1><1><1>}', '[' * 300, 'inf,nan', '1e999',
    '-1e308'])
nearly_json = st.text(st.sampled_from('[]{}",:\\u0 19an\n"id""prediction"'), max_size=80).map(str.encode)
KEYS = ['num_choices', 'gold_index', 'choices', 'image', 'prompt', 'category', 'question_type', 'answer_type', 'size',
        'answer_option', 'extraction', 'answer_bbox', 'origin_answer_bbox', 'is_balanced', 'task', 'type', 'bad_image',
        'multiple_choice_answer']
known = st.sampled_from(['multi_choice', 'free_form', 'list', 'B'])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -10**400]) | st.floats() | telling | known,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(telling, inner, max_size=2), max_leaves=5)
LONG = [piece * (100_000 // len(piece)) for piece in (
    '1', 'a ', '(', '[', '.', ', ', '9.', '-', "'", '\u0661', 'The answer is B. ', '{<1>', '\n', '0', '1,1')]
quick = settings(deadline=None, max_examples=40, derandomize=True, database=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize('name', SCORERS)
@given(answer=answers, mode=st.sampled_from(['default', 'upstream']))
@quick
def test_any_answer_has_a_value(name, mode, answer):
    item = Prediction('1', answer, REFERENCES.get(name, ('B',)), CONTEXT)
    try:
        score = METRICS.build({'type': name, 'mode': mode}).score([item])
        values = score.per_sample
    except DataError:
        assert name == 'judge_parse_coin' and mode == 'upstream'  # negative ratings without a limit
        return
    if name == 'mllmcl_app':
        assert values is None
    else:
        low = -math.inf if name == 'judge_parse_coin' and mode == 'upstream' else 0.0  # published: ratings below 0 are added
        assert low <= values[0] <= 1 and low <= score.value <= 100


@pytest.mark.parametrize('name', SCORERS)
@given(answer=answers, references=st.lists(answers, max_size=11), mode=st.sampled_from(['default', 'upstream']),
       context=st.dictionaries(st.sampled_from(KEYS), json_values))
@settings(quick, max_examples=60)
def test_any_gold_and_any_context_are_scored_or_refused_with_the_id(name, answer, references, context, mode):
    item = Prediction('the-id', answer, tuple(references), {**CONTEXT, **context})
    try:
        score = METRICS.build({'type': name, 'mode': mode}).score([item])
    except DataError as error:
        assert 'the-id' in str(error) or name == 'judge_parse_coin'
    else:
        assert score.value is None or score.value <= 100 and (score.value >= 0 or name == 'judge_parse_coin')


@pytest.mark.parametrize('mode', ['default', 'upstream'])
@pytest.mark.parametrize('name', SCORERS)
def test_long_answers_and_references_take_little_time(name, mode):
    """Fifteen texts of 100,000 characters each, against short gold answers and as gold answers."""
    scorer = METRICS.build({'type': name, 'mode': mode})
    for text in LONG:
        for answer, gold in ((text, 'B'), ('B', text), (text, text)):
            references = () if name.startswith('grounding') else (gold,) * 10
            start = time.process_time()
            with suppress(DataError):
                scorer.score([Prediction('1', answer, references, CONTEXT)])
            assert time.process_time() - start < 2, (text[:4], answer[:4], gold[:4])


@given(answer=answers)
@quick
def test_each_option_of_a_question_of_mathvista(answer):
    scorer = METRICS.build({'type': 'mathvista_check'})
    kinds = [{'answer_type': kind, 'question_type': 'free_form'} for kind in ('integer', 'float', 'text')]
    for changes in [*kinds, {'question_type': 'multi_choice', 'answer_option': 'B'}]:
        scorer.score([Prediction('1', answer, ('0',), {**CONTEXT, **changes, 'extraction': answer})])


@given(text=answers)
@quick
def test_boxes_are_four_finite_numbers_or_none(text):
    for parse in (parse_numbers, parse_minigpt_default):
        box = parse(text)
        assert box is None or len(box) == 4 and all(map(math.isfinite, box))
    for parse in (parse_coin, parse_minigpt):
        assert parse(text) is None or len(parse(text)) == 4


@given(text=answers)
@quick
def test_normalised_answers(text):
    for found in (normalise(text), official(text)):
        assert found == ' '.join(found.split())


@given(gold=answers, answer=answers)
@quick
def test_any_reference_too(gold, answer):
    for name in ('stvqa_anls', 'vqa_v2_official', 'mllmcl_ocr'):
        METRICS.build({'type': name}).score([Prediction('1', answer, (gold, answer, 'a'), CONTEXT)])
    for name in ('vqa_exact_upper', 'mllmcl_rs', 'mllmcl_vp'):
        METRICS.build({'type': name}).score([Prediction('1', answer, (gold, gold), CONTEXT)])
        METRICS.build({'type': name, 'mode': 'upstream'}).score([Prediction('1', answer, (gold, answer), CONTEXT)])


RECORDS = st.lists(st.dictionaries(st.sampled_from([*KEYS, 'answer', 'answers', 'references', 'context', 'split', 'text']),
                                   json_values, max_size=5), max_size=3)


@pytest.mark.parametrize('name', SCORERS)
@given(answer=answers, records=RECORDS, mode=st.sampled_from(['default', 'upstream']), wrapped=st.sampled_from('-data'))
@settings(quick, max_examples=30)
def test_any_annotations_are_scored_or_refused(tmp_path, name, answer, records, mode, wrapped):
    lines = [{'id': i, 'prediction': answer, 'references': ['B'], 'context': CONTEXT} for i in range(len(records))]
    (tmp_path / 'p.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    blob = [{'id': i, **record} for i, record in enumerate(records)]
    (tmp_path / 'a.json').write_text(json.dumps(blob if wrapped == '-' else {'data': blob}))
    with suppress(DataError):
        score, ids = score_files(METRICS.build({'type': name, 'mode': mode}), tmp_path / 'p.jsonl', tmp_path / 'a.json')
        assert len(ids) == len(records) and (score.value is None or score.value <= 100)


@given(raw=st.binary(max_size=80) | nearly_json)
@example(b'[' * 100_000)
@example(b'{"id": 1, "prediction": "x", "references": ' + b'9' * 5000 + b'}')
@example(b'{"data": {"id": []}}')
@example(b'{"annotations": [{"image_id": [], "caption": 3}]}')
@example(b'{"id": 1, "prediction": "x", "context": []}')
@quick
def test_any_file_is_read_or_refused_with_its_name(tmp_path, raw):
    path = tmp_path / 'file.jsonl'
    path.write_bytes(raw)
    for read in (predictions, annotations):
        try:
            read(path)
        except DataError as error:
            assert str(error).startswith(str(path))
