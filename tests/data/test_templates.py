"""Which words of a row are the instruction: the last line, a benchmark's patterns, a line by number."""

from __future__ import annotations

import pytest

from coinkit.config import load_config
from coinkit.data.templates import MOST, Templates, pattern_problems
from coinkit.errors import DataError
from coinkit.types import Query, Sample, Turn

PICTURE = (object(),)
WORD = 'Answer the question using a single word or phrase.'


def row(text: str, *, images: tuple = PICTURE, cls: type = Sample) -> Sample | Query:
    turns = (Turn('human', text), Turn('gpt', 'yes'), Turn('human', 'And now?'), Turn('gpt', 'no'))
    return Sample('7', 'GQA', images, turns) if cls is Sample else Query('7', images, turns)


@pytest.fixture(scope='module')
def coin() -> Templates:
    return Templates(load_config('coin/llava_finetune').benchmark.templates)


def test_the_last_line_of_the_first_question() -> None:
    assert Templates().instruction_of(row(f'Is it red?\n{WORD} \n')) == WORD
    assert Templates().instruction_of(row('One line')) == 'One line'
    assert Templates().instruction_of(row(f'Is it red?\n{WORD}\n<image>')) == WORD


@pytest.mark.parametrize(('text', 'expected'), [
    (f'What brand: a, b or c?\nReference OCR token: x\n{WORD}', WORD),
    ('Which?\nA. one\nB. two\nAnswer with the option\'s letter from the given choices directly.',
     "Answer with the option's letter from the given choices directly."),
    ('Please provide the bounding box coordinate of the region this sentence describes: the clock: left, of two',
     'Please provide the bounding box coordinate of the region this sentence describes'),
    (f'What is the object in the image?\n{WORD}', 'What is the object in the image?'),
    ('Answer the object in the image using a single word or phrase.',
     'Answer the object in the image using a single word or phrase.')])
def test_coins_rows_in_training_and_test(coin: Templates, text: str, expected: str) -> None:
    """CoIN's ImageNet asks in two lines, the refined one in one; Grounding's phrase stands behind a colon."""
    assert coin.instruction_of(row(text)) == coin.instruction_of(row(text, cls=Query)) == expected


def test_a_line_by_number_counts_the_pictures() -> None:
    text = f'What is the object in the image?\n{WORD}'
    assert Templates().instruction_of(row(text), line=2) == 'What is the object in the image?'
    assert Templates().instruction_of(row(text, images=()), line=2) == WORD
    assert Templates().instruction_of(row(text), line=-1) == WORD
    for line in (0, 1, 4, -4):
        with pytest.raises(DataError, match=f"record '7': template_line asks for line {line}, and the turn has 3 lines"):
            Templates().instruction_of(row(text), line=line)


def test_each_instruction_once_in_the_order_of_first_occurrence() -> None:
    rows = [row(f'q\n{text}') for text in ('b', 'a', 'b', 'c', 'a')]
    assert Templates().distinct(rows, where='GQA') == ('b', 'a', 'c')


def test_questions_taken_for_instructions_are_told() -> None:
    rows = (row(f'question {i}') for i in range(MOST + 1))
    with pytest.raises(DataError, match=r"GQA: more than 1000 different instructions, such as 'question 0'.*templates="):
        Templates().distinct(rows, where='GQA')


def test_a_pattern_may_have_a_group_and_must_be_one() -> None:
    assert Templates([r'x+', r'(y+)z']).instruction_of(row('ayyz')) == 'yy'
    assert Templates([r'x+', r'(y+)z']).instruction_of(row('axx ayyz')) == 'xx'
    (problem,) = pattern_problems('benchmark.templates', ['fine', '(not'])
    assert str(problem).startswith("benchmark.templates.1: '(not' is no regular expression: missing )")
