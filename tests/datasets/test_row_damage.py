"""Rows of any content: what is wrong is one problem that names the record, and nothing but errors of ours is raised."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinkit.data import index as index_module
from coinkit.datasets.instruction_rows import parse_row
from coinkit.datasets.instructions import InstructionJson
from coinkit.datasets.row_look import look_at_question, look_at_row
from coinkit.errors import DataError

ROW = {'question_id': 'q', 'text': 'What?', 'answer': 'a'}
TRAIN = {'id': 't', 'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': 'a'}]}
NAN, INF = float('nan'), float('inf')


def problems(tmp_path, rows, **more) -> list[str]:
    (tmp_path / 'rows.json').write_text(json.dumps(rows))
    given_all = dict(path='rows.json', root=str(tmp_path), on_bad_image='skip', **more)
    return [str(each) for each in InstructionJson.preflight(**given_all)]


@pytest.mark.parametrize('wrong', [NAN, 1.5, ' ', '', True, ['q'], {'q': 1}])
@pytest.mark.parametrize('key', ['question_id', 'id'])
def test_an_id_is_a_text_or_a_whole_number(tmp_path, key, wrong):
    row = {key: wrong, 'text': 'What?', 'answer': 'a'}
    [problem] = problems(tmp_path, [row])
    assert f"record 0: '{key}' is {wrong!r}; a text that is not blank, or a whole number, is wanted." in problem
    assert f"'{key}' is" in look_at_row(row).wrong
    with pytest.raises(DataError, match='record 0'):
        InstructionJson('rows.json', root=str(tmp_path))


def test_of_two_ids_the_one_that_is_not_null_counts(tmp_path):
    assert parse_row({**ROW, 'question_id': None, 'id': 7}).id == '7'
    assert parse_row({**ROW, 'question_id': 0, 'id': 7}).id == '0'
    [problem] = problems(tmp_path, [{**ROW, 'question_id': None}])
    assert "has no 'id' or 'question_id'" in problem


@pytest.mark.parametrize('row', [{'answer': NAN}, {'answers': ['a', INF]}, {'answer': True}, {'answers': [NAN] * 10}])
def test_an_answer_is_a_text_or_a_finite_number(tmp_path, row):
    [problem] = problems(tmp_path, [{'question_id': 'q', 'text': 'What?', **row}])
    assert "record 0 (id 'q'): 'answer" in problem and 'text is wanted' in problem


@pytest.mark.parametrize('said_by', [['human'], {}, 5, None])
def test_whoever_speaks_is_named_by_a_text(tmp_path, said_by):
    row = {**TRAIN, 'conversations': [{'from': said_by, 'value': 'q'}, TRAIN['conversations'][1]]}
    [problem] = problems(tmp_path, [row])
    assert "record 0 (id 't'): 'conversations' holds" in problem and "'human' or 'gpt'" in problem
    assert 'conversations' in look_at_row(row).wrong


@pytest.mark.parametrize('flag', ['false', None, 1])
def test_a_question_is_balanced_or_not(tmp_path, flag):
    [problem] = problems(tmp_path, [{**ROW, 'is_balanced': flag}])
    assert f"'is_balanced' is {flag!r}; true or false is wanted" in problem


def test_a_box_holds_no_truth_values(tmp_path):
    [problem] = problems(tmp_path, [{'question_id': 'q', 'text': 'Where?', 'answer_bbox': [True, 0, 1, 1]}])
    assert 'four numbers are wanted' in problem


def test_what_is_long_or_deep_is_cut_in_a_message(tmp_path):
    deep: list = []
    for _ in range(300):
        deep = [deep]
    for given_value in ('x' * 100_000, ['y'] * 100_000, deep, 10**4_000):
        [problem] = problems(tmp_path, [{**TRAIN, 'conversations': [{'from': 'human', 'value': given_value}]}])
        assert len(problem) < 700


@pytest.mark.parametrize('image', ['a' * 5_000, 'a\0b', 'a/' * 3_000, '\udcff', '.', '~/x', 'b/../c'])
def test_odd_names_of_pictures(tmp_path, image):
    (tmp_path / 'rows.json').write_text(json.dumps([{**ROW, 'image': image}]))
    for policy in ('error', 'skip', 'text_only'):
        found = InstructionJson.preflight(path='rows.json', root=str(tmp_path), on_bad_image=policy, image_root=['a', ''])
        assert found or policy != 'error' or image == '.'


WHOLE = [TRAIN, TRAIN, TRAIN, ROW, {**ROW, 'answer': 'A', 'choices': ['x', 'y'], 'image': ['a.jpg', 'b.jpg']},
         {'id': 5, 'text': 'Where?', 'answer_bbox': [0.1, 0.2, 0.3, 0.4], 'origin_answer_bbox': '[0,0,1,1]', 'size': [9, 8]},
         {**ROW, 'question_type': 'multi_choice', 'answer_type': 'text', 'choices': ['a', 'b'], 'answer_option': 'A'},
         {**ROW, 'answers': [{'answer': 'a'}] * 10, 'multiple_choice_answer': 'a', 'is_balanced': True},
         {**ROW, 'num_choices': 2, 'gold_index': 0, 'category': 'c', 'prompt': 'p', 'text': '<img>a.jpg</img> What?'}]
METRICS = ['scienceqa_coin', 'mathvista_check', 'grounding_coin', 'grounding_minigpt', 'mllmcl_ocr', 'mllmcl_sci', 'gqa',
           'textvqa_m4c', 'vqa_exact_upper', 'stvqa_anls', 'imagenet_coin', 'mllmcl_vp', 'ucit_caption', 'mllmcl_app']
SCALARS = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) |
           st.sampled_from(['A', '[0.1,0.2,0.3,0.4]', '<image>', '<img>a</img>', '../x', 10**400]))
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=2), SCALARS, max_size=2)


def damaged(data, value, depth):
    """A copy with another value somewhere, or with one key more or fewer."""
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or depth == 0:
        return data.draw(VALUES)
    changed, key = value.copy(), data.draw(st.sampled_from(keys))
    if data.draw(st.integers(0, 9)) == 0:
        del changed[key]
    else:
        changed[key] = damaged(data, value[key], depth - 1)
    return changed


@settings(max_examples=200, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_are_samples_or_problems(tmp_path, monkeypatch, data):
    monkeypatch.setattr(index_module, '_store', lambda *_: None)
    one = damaged(data, data.draw(st.sampled_from(WHOLE)), data.draw(st.sampled_from([1, 3])))
    records = [one, *([{**ROW, 'question_id': 'second'}] if 'text' in one else [])]
    metric = data.draw(st.sampled_from(METRICS))
    found = problems(tmp_path, records, scored_by={'type': metric}, needs=['answer_type|category'])
    for record in records:
        look_at_row(record), look_at_question(record)
    try:
        samples = list(InstructionJson('rows.json', root=str(tmp_path), on_bad_image='skip'))
    except DataError:
        assert found
        return
    for sample in samples:
        assert sample.id.strip() and sample.turns and json.dumps(sample.meta)
