"""Whatever a model writes, a scorer gives values in its range, or an error of ours: no other exception, in any mode."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coinkit.errors import DataError
from coinkit.metrics.files import annotations, predictions
from coinkit.metrics.grounding import parse_coin, parse_minigpt, parse_minigpt_default, parse_numbers
from coinkit.metrics.m4c import normalise, official
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
quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize('name', SCORERS)
@given(answer=answers, mode=st.sampled_from(['default', 'upstream']))
@quick
def test_any_answer_has_a_value(name, mode, answer):
    item = Prediction('1', answer, REFERENCES.get(name, ('B',)), CONTEXT)
    try:
        values = METRICS.build({'type': name, 'mode': mode}).score([item]).per_sample
    except DataError:
        assert name == 'judge_parse_coin' and mode == 'upstream'  # negative ratings without a limit
        return
    if name == 'mllmcl_app':
        assert values is None
    else:
        assert values[0] <= 1 and (values[0] >= 0 or name == 'judge_parse_coin' and mode == 'upstream')


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
    for name in ('vqa_exact_upper', 'stvqa_anls', 'vqa_v2_official', 'mllmcl_rs', 'mllmcl_vp', 'mllmcl_ocr'):
        METRICS.build({'type': name}).score([Prediction('1', answer, (gold, answer), CONTEXT)])


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
