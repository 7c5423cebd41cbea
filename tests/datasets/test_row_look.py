"""What `coinkit data` sees of an instruction row."""

from __future__ import annotations

import pytest

from coinkit.datasets.row_look import BAD_BOX, NO_QUESTION, NO_TOKEN, look_at_question, look_at_row


def train(text='<image>\nWhat?', answer='yes', **more):
    return {'id': 'a', 'image': 'x/1.png', 'conversations': [{'from': 'human', 'value': text},
                                                             {'from': 'gpt', 'value': answer}], **more}


@pytest.mark.parametrize('record, notes', [
    (train(), ()),
    (train('What?'), (NO_TOKEN,)),
    (train('<image>'), (NO_QUESTION,)),
    (train(answer='[0.1,0.2,0.5,1.0]'), ()),
    (train(answer='[0.1, 0.2, 0.5, 1.2]'), (BAD_BOX,)),
    (train(answer='[0.5,0.2,0.1,0.9]'), (BAD_BOX,)),
    (train(answer='[1.2.3,0,0.1,0.9]'), (BAD_BOX,)),
    (train(answer='it is at [0.5,0.2,0.1,0.9]'), ()),
    ({'question_id': 3, 'image': 'a.png', 'text': 'Where?', 'answer_bbox': '[10,10,20,20]'}, (BAD_BOX,)),
    ({'question_id': 3, 'image': 'a.png', 'text': 'What?', 'answer': 'b'}, ())])
def test_doubts(record, notes):
    look = look_at_row(record)
    assert (look.wrong, look.notes) == ('', notes)


@pytest.mark.parametrize('record, why', [
    ({'id': 1, 'text': 'What?'}, 'no answer'), (train(answer=' '), 'empty answer'), ({'text': 'What?'}, "no 'id'"),
    (train(image='../secret.png'), 'out of the image root'), (train(image='/etc/x.png'), 'out of the image root')])
def test_what_a_run_would_refuse(record, why):
    assert why in look_at_row(record).wrong


def test_questions_may_lack_their_answer_where_annotations_bring_it():
    look = look_at_question({'question_id': 7, 'image': 'a.png', 'text': 'What?'})
    assert (look.id, look.images, look.question, look.wrong) == ('7', ('a.png',), 'What?', '')
