"""Which words of a row are the instruction: the last line, a task's template, a line by number."""

from __future__ import annotations

import pytest

from coinkit.config import load_config
from coinkit.data.templates import LAST_LINE, MOST, Template, read_as_known
from coinkit.errors import DataError
from coinkit.types import Query, Sample, Turn

PICTURE = (object(),)
WORD = 'Answer the question using a single word or phrase.'


def row(text: str, *, images: tuple = PICTURE, cls: type = Sample) -> Sample | Query:
    turns = (Turn('human', text), Turn('gpt', 'yes'), Turn('human', 'And now?'), Turn('gpt', 'no'))
    return Sample('7', 'GQA', images, turns) if cls is Sample else Query('7', images, turns)


COIN = {task.name: Template((task.template,) if task.template else ())
        for task in load_config('coin/llava_cia').benchmark.tasks}
REFINED = {task.name: task.template for task in load_config('coin_refined/llava_cia').benchmark.tasks}


def test_the_last_line_of_the_first_question() -> None:
    assert LAST_LINE.instruction_of(row(f'Is it red?\n{WORD} \n')) == WORD
    assert LAST_LINE.instruction_of(row('One line')) == 'One line'
    assert LAST_LINE.instruction_of(row(f'Is it red?\n{WORD}\n<image>')) == WORD


@pytest.mark.parametrize(('task', 'text', 'expected'), [
    ('TextVQA', f'What brand: a, b or c?\nReference OCR token: x\n{WORD}', WORD),
    ('ScienceQA', 'Which?\nA. one\nB. two\nAnswer with the option\'s letter from the given choices directly.',
     "Answer with the option's letter from the given choices directly."),
    ('Grounding',
     'Please provide the bounding box coordinate of the region this sentence describes: the clock: left, of two',
     'Please provide the bounding box coordinate of the region this sentence describes'),
    ('Grounding', 'No colon here', 'No colon here'),
    ('ImageNet', f'What is the object in the image?\n{WORD}', 'What is the object in the image?'),
    ('VizWiz', f'What is the object in the image?\n{WORD}', WORD),
    ('VQAv2', 'Is it red?\nSay: yes or no', 'Say: yes or no'),
    ('ImageNet', 'Answer the object in the image using a single word or phrase.',
     'Answer the object in the image using a single word or phrase.')])
def test_coins_rows_in_training_and_test(task: str, text: str, expected: str) -> None:
    """By task: CoIN's ImageNet asks in two lines, the refined one in one; Grounding's phrase stands behind a colon."""
    assert COIN[task].instruction_of(row(text)) == COIN[task].instruction_of(row(text, cls=Query)) == expected
    assert {name: ''.join(template.patterns) for name, template in COIN.items()} == REFINED


def test_a_line_by_number_counts_the_pictures() -> None:
    text = f'What is the object in the image?\n{WORD}'
    assert Template(line=2).instruction_of(row(text)) == 'What is the object in the image?'
    assert Template(line=2).instruction_of(row(text, images=())) == WORD
    assert Template(('Is',), line=-1).instruction_of(row(text)) == WORD
    for line in (0, 1, 4, -4):
        with pytest.raises(DataError, match=f"record '7': template_line asks for line {line}, and the turn has 3 lines"):
            Template(line=line).instruction_of(row(text))


def test_each_instruction_once_in_the_order_of_first_occurrence() -> None:
    rows = [row(f'q\n{text}') for text in ('b', 'a', 'b', 'c', 'a')]
    assert LAST_LINE.distinct(rows, where='GQA') == ('b', 'a', 'c')


def test_questions_taken_for_instructions_are_told() -> None:
    rows = (row(f'question {i}') for i in range(2 * MOST))
    with pytest.raises(DataError, match=r"GQA: more than 1000 different instructions, such as 'question 0'.*template="):
        LAST_LINE.distinct(rows, where='GQA')
    assert len(list(rows)) == MOST - 1, 'it ends with the first one too many'


def test_a_pattern_may_have_a_group() -> None:
    assert Template((r'x+', r'(y+)z')).instruction_of(row('ayyz')) == 'yy'
    assert Template((r'x+', r'(y+)z')).instruction_of(row('axx ayyz')) == 'xx'


FIRST = Template((r'\A[^\n]*',))


@pytest.mark.parametrize(('texts', 'known', 'expected'), [
    (['a\nw', 'b\nw', 'q\nw'], {LAST_LINE: ['w'], FIRST: ['q']}, ('w',)),  # most rows
    (['q\nw', 'q\nw'], {LAST_LINE: ['w'], FIRST: ['q']}, ('q',)),  # as many: the task's own template
    (['q\nw', 'q\nv'], {LAST_LINE: ['w', 'v'], FIRST: ['q']}, ('q',)),  # as many rows: fewer instructions
    (['a\nw', 'b\nw'], {LAST_LINE: [], FIRST: ['q']}, ('w',)),  # nothing known: fewer instructions
    ([f'{i}\nw' for i in range(MOST + 1)], {FIRST: ['0', '1'], LAST_LINE: []}, ('w',))])  # questions are no instructions
def test_a_set_is_read_as_the_tasks_it_is_like(texts: list[str], known: dict, expected: tuple[str, ...]) -> None:
    assert read_as_known([row(text, cls=Query) for text in texts], known, where='test set') == expected


def test_a_set_of_questions_alone_is_told() -> None:
    with pytest.raises(DataError, match="test set: more than 1000 different instructions, such as '0', '1'"):
        read_as_known([row(str(i)) for i in range(MOST + 1)], {LAST_LINE: [], FIRST: []}, where='test set')
