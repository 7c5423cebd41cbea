"""A test sample whose picture could not be used is wrong under every scorer and mode, and is counted."""

from __future__ import annotations

import json

import pytest

from coinkit.metrics.base import bad_image_counts
from coinkit.metrics.mllm_cl_ability import MLLMCLApp
from coinkit.metrics.run import score_files
from coinkit.registry import METRICS
from coinkit.types import Prediction

CONTEXT = {'num_choices': 2, 'gold_index': 0, 'image': 'AI2D_1.png', 'prompt': '?', 'category': 'x', 'size': [4, 4],
           'question_type': 'free_form', 'answer_type': 'text'}
GOLD = {'gqa': 'a', 'grounding_coin': '[0.10,0.20,0.30,0.40]', 'grounding_minigpt': '[0.1,0.2,0.3,0.4]'}
SCORERS = [name for name in METRICS.names() if name not in ('ucit_caption', 'mllmcl_app', 'judge_parse_coin')]


@pytest.mark.parametrize('mode', ['default', 'upstream'])
@pytest.mark.parametrize('name', SCORERS)
@pytest.mark.parametrize('answer', ['', 'right'])
def test_a_skipped_sample_counts_as_wrong_whatever_its_text(name: str, mode: str, answer: str) -> None:
    gold = GOLD.get(name, 'A')
    references = (gold,) * 10
    rows = [Prediction('1', gold, references, CONTEXT),
            Prediction('2', gold if answer else '', references, {**CONTEXT, 'bad_image': 'skip'}),
            Prediction('3', gold, references, {**CONTEXT, 'bad_image': 'text_only'})]
    score = METRICS.build({'type': name, 'mode': mode}).score(rows)
    assert score.per_sample[1] == 0.0 and score.counts['items'] == 3
    assert (score.counts['skipped'], score.counts['without_picture'], score.counts['missing']) == (1, 1, 0)
    if (name, mode) not in {('mathvista_check', 'upstream'), ('mllmcl_ocr', 'upstream')}:
        assert score.value == pytest.approx(200 / 3)


def test_imagenet_as_published_gives_an_empty_answer_a_point_but_no_skipped_one() -> None:
    rows = [Prediction('1', '', ('tench',), {}), Prediction('2', '', ('tench',), {'bad_image': 'skip'})]
    assert METRICS.build({'type': 'imagenet_coin', 'mode': 'upstream'}).score(rows).per_sample == (1.0, 0.0)


def test_nothing_is_counted_where_nothing_was_bad() -> None:
    assert bad_image_counts([Prediction('1', 'a'), Prediction('2', 'a', (), {'bad_image': ['odd']})]) == {}


def test_a_table_to_submit_has_no_answer_for_it() -> None:
    rows = [Prediction('ALL_0', 'b', (), {}), Prediction('ALL_1', '', (), {'bad_image': 'skip'})]
    assert list(MLLMCLApp().table(rows)) == [('index', 'prediction'), ('0', 'B'), ('1', 'Z')]
    assert MLLMCLApp().score(rows).counts == {'items': 2, 'missing': 0, 'unparsed': 0, 'skipped': 1}


def test_it_is_known_when_a_file_is_scored_again(tmp_path) -> None:
    lines = [{'id': 1, 'prediction': 'a', 'references': ['a']},
             {'id': 2, 'prediction': '', 'references': ['a'], 'context': {'bad_image': 'skip'}}]
    (tmp_path / 'p.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (tmp_path / 'gold.json').write_text(json.dumps([{'id': line['id'], 'answer': 'a'} for line in lines]))
    for gold in (None, tmp_path / 'gold.json'):
        score, _ = score_files(METRICS.build({'type': 'ocrvqa_coin'}), tmp_path / 'p.jsonl', gold)
        assert (score.value, score.counts['skipped']) == (50.0, 1)
