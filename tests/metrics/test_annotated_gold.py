"""Where annotations are given they are the gold: what a prediction's own line holds of it does not count, in any form."""

from __future__ import annotations

import json

import pytest

from coinkit.errors import DataError
from coinkit.metrics.mllm_cl_ability import FORMULAS
from coinkit.metrics.run import align, matched_rows, score_files
from coinkit.registry import METRICS
from coinkit.types import Prediction

BOX, ELSEWHERE = '[0.10,0.25,0.55,0.80]', '[0.80,0.80,0.90,0.90]'
TWO = {'choices': ['x', 'y']}
# scorer, answer, the line's own stale gold, the annotation
STALE = [
    ('grounding_coin', BOX, {'references': [ELSEWHERE]}, {'answer_bbox': BOX}),
    ('grounding_coin', BOX, {'context': {'answer_bbox': ELSEWHERE}}, {'references': [BOX]}),
    ('grounding_minigpt', BOX, {'context': {'origin_answer_bbox': ELSEWHERE}}, {'references': [BOX]}),
    ('grounding_minigpt', BOX, {'references': [ELSEWHERE]}, {'origin_answer_bbox': BOX}),
    ('scienceqa_coin', 'B', {'context': {'gold_index': 0}}, {'answer': 'B', **TWO}),
    ('scienceqa_llava', 'B', {'context': {'gold_index': 0, 'num_choices': 1}}, {'answer': 1, **TWO}),
    ('vqa_exact_upper', 'blue', {'context': {'multiple_choice_answer': 'red'}}, {'answer': 'blue'}),
    ('ucit_exact', 'blue', {'references': ['red']}, {'multiple_choice_answer': 'blue'}),
    ('mathvista_check', 'B', {'context': {'answer_option': 'A'}},
     {'answer': 'y', 'question_type': 'multi_choice', 'answer_type': 'text', **TWO}),
    ('mllmcl_ocr', 'a b', {'references': ['zzz'], 'context': {'category': FORMULAS}},
     {'answers': ['A b'], 'answer_type': 'Regular Text Recognition'})]


def files(tmp_path, line: dict, *annotations: dict):
    (tmp_path / 'p.jsonl').write_text(json.dumps({'id': '7', **line}) + '\n')
    (tmp_path / 'a.json').write_text(json.dumps(list(annotations)))
    return tmp_path / 'p.jsonl', tmp_path / 'a.json'


@pytest.mark.parametrize('mode', ['default', 'upstream'])
@pytest.mark.parametrize('name, answer, stale, gold', STALE)
def test_the_gold_of_the_annotation_is_compared_with(tmp_path, name, answer, stale, gold, mode):
    if name == 'ucit_exact' and mode == 'upstream':
        gold = {'answer': 'blue'}  # published, the first reference counts
    scorer = METRICS.build({'type': name, 'mode': mode})
    score, _ = score_files(scorer, *files(tmp_path, {'prediction': answer, **stale}, {'id': '7', **gold}))
    assert score.value == (.1 if name == 'mllmcl_ocr' and mode == 'upstream' else 100.0)


@pytest.mark.parametrize('gold', [{'answer': None}, {'references': []}, {}, {'multiple_choice_answer': None}])
def test_an_annotation_without_gold_is_an_error_with_file_and_id(tmp_path, gold):
    paths = files(tmp_path, {'prediction': 'x', 'references': ['x']}, {'id': 'first', 'answer': 'x'}, {'id': '7', **gold})
    with pytest.raises(DataError, match=r"a.json: record 2: id '7' has no gold answer; 1 annotations of 2 have none.*"
                                        'references, answers, answer, multiple_choice_answer'):
        score_files(METRICS.build({'type': 'vqa_exact_upper'}), *paths)


def test_so_is_one_that_nobody_answered(tmp_path):
    """It would be counted as wrong, though nothing could be right."""
    paths = files(tmp_path, {'prediction': 'x'}, {'id': '7', 'answer': 'x'}, {'id': 'missing'})
    with pytest.raises(DataError, match="record 2: id 'missing' has no gold"):
        score_files(METRICS.build({'type': 'ucit_caption', 'caption_tokenizer': 'simple'}), *paths)


def test_gold_is_wanted_where_it_is_compared_with_alone(tmp_path):
    """A question that is not balanced is no part of GQA's score; MMT-Bench keeps its gold; a rating has none."""
    paths = files(tmp_path, {'prediction': '8'}, {'id': '7', 'answer': '8'}, {'id': '8', 'isBalanced': False})
    assert score_files(METRICS.build({'type': 'gqa'}), *paths)[0].value == 100.0
    paths = files(tmp_path, {'prediction': '8'}, {'id': '7'}, {'id': '8'})
    assert score_files(METRICS.build({'type': 'judge_parse_coin'}), *paths)[0].value == 40.0
    assert [row.id for row in matched_rows(METRICS.build({'type': 'mllmcl_app'}), *paths)] == ['7', '8']


def test_what_is_no_gold_is_kept(tmp_path):
    context = {'extraction': 'B', 'size': [1, 2], 'task': 'Count', 'mine': 'stale'}
    line = Prediction('7', 'x', ('stale',), context, 'expert-2')
    (row,) = align([line], [Prediction('7', None, ('x',), {'size': [3, 4], 'type': 'Depth'})], gold_keys=('mine',))
    assert row == Prediction('7', 'x', ('x',), {'extraction': 'B', 'size': [3, 4], 'type': 'Depth'}, 'expert-2')


def test_a_scorer_names_further_places_of_gold(tmp_path):
    class Own(type(METRICS.build({'type': 'ucit_exact'}))):
        gold_keys = ('label',)

        def one_reference(self, item):
            return item.context['label']

    paths = files(tmp_path, {'prediction': 'x', 'context': {'label': 'y'}}, {'id': '7', 'label': 'x'})
    assert score_files(Own(), *paths)[0].value == 100.0
    with pytest.raises(DataError, match='has no gold answer.*answer, label'):
        score_files(Own(), *files(tmp_path, {'prediction': 'x', 'context': {'label': 'x'}}, {'id': '7'}))
