"""What a judge is asked: blocks in their order, no format line, no placeholder, boxes explained; and the gold answer."""

from __future__ import annotations

import pytest

from coinkit.errors import DataError
from coinkit.judges.prompts import gold_text, judge_prompt, question_text, without_format_line, without_placeholders
from coinkit.types import Prediction, Turn


def test_blocks_in_order_with_their_content():
    prompt = judge_prompt('<image>\nWhat is it?\nAnswer with one word.', 'a cat', 'A dog.')
    places = [prompt.index(text) for text in (
        '[Context]', '[Question]', 'What is it?', '[Ground Truth]', 'a cat', '[End of Ground Truth]', '[Assistant]',
        'A dog.', '[End of Assistant]', '[System]')]
    assert places == sorted(places)
    assert 'one word' not in prompt and '<image>' not in prompt
    rule = prompt.partition('[System]')[2]
    assert all(needed in rule for needed in ('0 to 10', 'higher', 'ground truth', 'one line', 'only the value'))
    assert 'x1' not in rule


def test_a_grounding_question_is_given_whole_and_boxes_are_explained():
    question = 'Please provide the box of the region:\nthe left bowl'
    prompt = judge_prompt(question, '[0.10,0.25,0.55,0.80]', '[0.1,0.2,0.5,0.8]', grounding=True)
    assert question in prompt and '(x1, y1, x2, y2)' in prompt and 'from 0 to 1' in prompt and 'sentence' in prompt


@pytest.mark.parametrize('text, left', [
    ('Q?\nFormat.', 'Q?'), ('Q?\nContext: x\nA. b\nFormat.', 'Q?\nContext: x\nA. b'), ('Only line', 'Only line'),
    ('Q?\nFormat.\n', 'Q?'), ('\nOnly', '\nOnly'), ('', '')])
def test_the_last_line_goes_and_a_single_line_stays(text, left):
    assert without_format_line(text) == left


@pytest.mark.parametrize('text', ['<image>\nQ', '<img>a/b.png</img>\nQ', '<Img><ImageHere></Img>\nQ', '<image>Q'])
def test_placeholders_of_every_backbone_are_removed(text):
    assert without_placeholders(text) == 'Q'


def test_text_of_several_turns():
    assert question_text([Turn('human', 'a'), Turn('gpt', 'b'), Turn('human', 'c\nFormat.')]) == 'a\nb\nc\nFormat.'


def test_gold_is_the_box_the_answer_or_what_most_annotators_said():
    assert gold_text(Prediction('1', '', ('a', 'b', 'b'), {})) == 'b'
    assert gold_text(Prediction('1', '', ('a', 'b'), {})) == 'a'
    assert gold_text(Prediction('1', '', ('[0,0,1,1]',), {'answer_bbox': '[0,0,.5,.5]'}), grounding=True) == '[0,0,.5,.5]'
    assert gold_text(Prediction('1', '', (), {'answer_bbox': [0, 0, 1, 1]}), grounding=True) == '[0,0,1,1]'
    assert gold_text(Prediction('1', '', ('[0,0,1,1]',), {}), grounding=True) == '[0,0,1,1]'
    assert gold_text(Prediction('1', '', (), {'gold_index': 2})) == 'C'
    for context in ({}, {'gold_index': True}):
        with pytest.raises(DataError, match="'7'.*gold"):
            gold_text(Prediction('7', '', (), context))


@pytest.mark.parametrize('box', [3, True, {}, [[0, 0, 1, 1]], [None]])
def test_a_gold_box_that_is_none_is_told(box):
    with pytest.raises(DataError, match="'7': context has answer_bbox="):
        gold_text(Prediction('7', '', ('[0,0,1,1]',), {'answer_bbox': box}), grounding=True)
