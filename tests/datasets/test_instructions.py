"""InstructionJson: the rows it takes, the samples they become, and every wrong row, file and folder named."""

from __future__ import annotations

import json
import time

import pytest

from coinkit.datasets.instruction_rows import parse_row
from coinkit.datasets.instructions import InstructionJson
from coinkit.datasets.mini import Mini
from coinkit.datasets.mini.records import write_records
from coinkit.datasets.mini.tasks import TASKS
from coinkit.datasets.row_look import look_at_row
from coinkit.errors import ConfigError, DataError
from coinkit.types import Dataset, Turn

TRAIN = {'id': 'tq_17', 'image': 'a/b.jpg', 'conversations': [
    {'from': 'human', 'value': '<image>\nWhat is written on the sign?\nAnswer with one word.'},
    {'from': 'gpt', 'value': 'exit'}]}
TEST = {'question_id': 900, 'image': 'a/b.jpg', 'text': 'What brand?\nOne word.', 'answer': 'nokia'}


def write(folder, rows, name='rows.json'):
    (folder / name).write_text(json.dumps(rows))
    return name


def load(folder, *rows, **arguments):
    return InstructionJson(write(folder, list(rows)), root=str(folder), **arguments)


def without(meta, key):
    return {name: value for name, value in meta.items() if name != key}


def test_a_training_row(tmp_path):
    dataset = load(tmp_path, TRAIN, task='TextVQA', image_root='images')
    sample = dataset[0]
    assert isinstance(dataset, Dataset)
    assert (sample.id, sample.task, sample.references, len(dataset)) == ('tq_17', 'TextVQA', (), 1)
    assert sample.turns == (Turn('human', 'What is written on the sign?\nAnswer with one word.'), Turn('gpt', 'exit'))
    assert sample.images[0].file == str(tmp_path / 'images/a/b.jpg')


def test_a_test_row(tmp_path):
    sample = load(tmp_path, {**TEST, 'category': 'brand'})[0]
    assert (sample.id, sample.references) == ('900', ('nokia',))
    assert sample.meta == {'category': 'brand', 'image': 'a/b.jpg', 'prompt': 'What brand?\nOne word.'}
    assert sample.turns == (Turn('human', 'What brand?\nOne word.'),)


def test_a_grounding_row(tmp_path):
    sample = load(tmp_path, {'question_id': 5, 'image': 'x.jpg', 'text': 'box of: left bowl', 'size': [640, 480],
                             'answer_bbox': '[0.10,0.25,0.55,0.80]', 'origin_answer_bbox': '[0.10,0.17,0.55,0.90]'})[0]
    assert sample.references == ('[0.10,0.25,0.55,0.80]',)
    assert sample.meta['size'] == [640, 480] and sample.meta['origin_answer_bbox'] == '[0.10,0.17,0.55,0.90]'


@pytest.mark.parametrize(('row', 'references'), [
    ({'answer': ['12.50', '12.5']}, ('12.50', '12.5')),
    ({'answer': 3}, ('3',)),
    ({'answers': ['a'] * 10}, ('a',) * 10),
    ({'answers': [{'answer': 'a', 'answer_id': 1}, {'answer': 'b', 'answer_id': 2}]}, ('a', 'b')),
    ({'answer_bbox': [0.1, 0.2, 0.3, 0.4]}, ('[0.1,0.2,0.3,0.4]',))])
def test_forms_of_gold_answers(tmp_path, row, references):
    assert load(tmp_path, {'question_id': 1, 'text': 'q', **row})[0].references == references


def test_options_tell_their_number_and_the_gold_index(tmp_path):
    sample = load(tmp_path, {**TEST, 'answer': 'C', 'choices': ['x', 'y', 'z', 'w']})[0]
    assert (sample.meta['num_choices'], sample.meta['gold_index']) == (4, 2)


def test_text_only_and_many_images(tmp_path):
    dataset = load(tmp_path, {'id': 1, 'text': 'q', 'answer': 'a'},
                   {'id': 2, 'image': ['a.png', 'b.png'], 'text': 'q', 'answer': 'a'})
    assert [len(sample.images) for sample in dataset] == [0, 2]


def test_all_pairs_of_a_conversation_and_the_roles_of_qwen(tmp_path):
    turns = [{'from': 'user', 'value': 'q1 <image>'}, {'from': 'assistant', 'value': 'a1'},
             {'from': 'user', 'value': 'q2'}, {'from': 'assistant', 'value': 'a2'}]
    sample = load(tmp_path, {'id': 1, 'image': 'x.png', 'conversations': turns})[0]
    assert [turn.role for turn in sample.turns] == ['human', 'gpt'] * 2
    assert [turn.text for turn in sample.turns] == ['q1 <image>', 'a1', 'q2', 'a2']


def test_pictures_named_inside_the_text_of_a_qwen_row(tmp_path):
    turns = [{'from': 'user', 'value': 'Picture 1: <img>COCO/a b.jpg</img>\nWhat is it?'},
             {'from': 'assistant', 'value': 'a'}]
    sample = load(tmp_path, {'id': 1, 'conversations': turns})[0]
    assert [image.path for image in sample.images] == ['COCO/a b.jpg']
    assert sample.turns[0] == Turn('human', 'What is it?')
    asked = load(tmp_path, {'id': 1, 'image': 'x.jpg', 'text': '<img>x.jpg</img>q', 'answer': 'a'})[0]
    assert (len(asked.images), asked.turns[0].text) == (1, 'q')
    wrong = [{**TRAIN, 'image': 'other.jpg', 'conversations': turns}]
    [problem] = InstructionJson.preflight(path=write(tmp_path, wrong), root=str(tmp_path), on_bad_image='skip')
    assert "['COCO/a b.jpg'] in its text and ['other.jpg']" in problem.message


def test_openings_without_an_end_are_read_at_once():
    start = time.perf_counter()
    row = parse_row({'id': 1, 'text': '<img>' * 50_000 + 'q', 'answer': 'a'})
    assert time.perf_counter() - start < 1
    assert row.images == () and row.turns[0].text.endswith('<img>q')
    assert parse_row({'id': 1, 'text': '<img><img>a.jpg</img>q', 'answer': 'a'}).images == ('a.jpg',)


def test_tags_stay_where_they_tell_a_place(tmp_path):
    def turns(*texts, image):
        said = [{'from': ('human', 'gpt')[number % 2], 'value': text} for number, text in enumerate(texts)]
        return [turn.text for turn in load(tmp_path, {'id': 1, 'image': image, 'conversations': said})[0].turns]

    assert turns('<image>\nq', 'a', image='x.png') == ['q', 'a']
    assert turns(' <image> q', 'a', image='x.png') == ['q', 'a']
    for texts in (['hello', 'hi', '<image>\nq', 'a'], ['q\n<image>', 'a']):
        assert turns(*texts, image='x.png') == texts
    two = ['first <image> then <image>', 'a', 'q', 'b']
    assert turns(*two, image=['x.png', 'y.png']) == two


def test_scorers_are_shown_no_tags(tmp_path):
    for image, text in (('x.png', 'q?\n<image>'), ('x.png', '<image>\nq?'), (['x.png', 'y.png'], '<image> <image> q?')):
        row = {'id': 1, 'image': image, 'text': text, 'answer': 'a'}
        assert load(tmp_path, row)[0].meta['prompt'] == 'q?'
        assert load(tmp_path, row, suffix=' Now.')[0].meta['prompt'] == 'q? Now.'
    row = {'id': 1, 'image': 'x.png', 'text': 'q?\n<image>', 'answer': 'a'}
    assert load(tmp_path, row, image_gap=' ')[0].turns[0].text == '<image> q?'


def test_of_several_places_the_first_that_is_there_is_read(tmp_path):
    for folder in ('RS', 'RS/images'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'RS/images/1.png').write_bytes(b'x')
    write(tmp_path, [{**TEST, 'image': '1.png'}], 'RS/test_3000.json')
    given = dict(path=['RemoteSensing/test.json', 'RS/test.json', 'RS/test_3000.json'], root=str(tmp_path))
    roots = ['RemoteSensing', 'RS', 'RS/images']
    assert InstructionJson.preflight(**given, image_root=roots) == []
    dataset = InstructionJson(**given, image_root=roots)
    assert dataset.path == tmp_path / 'RS/test_3000.json'
    assert dataset.image_root == str(tmp_path / 'RS/images'), 'the folder that holds the first picture'
    [problem] = InstructionJson.preflight(path=['a.json', 'b/c.json'], root=str(tmp_path), source='the hub')
    assert all(each in str(problem) for each in ('a.json', 'b/c.json', 'Get it from the hub'))


def test_an_image_folder_may_have_several_names(tmp_path):
    sources = {'CLEVR/images|CLEVR-Math/images': 'the hub'}
    given = dict(path=write(tmp_path, [{**TEST, 'image': None}]), root=str(tmp_path), image_sources=sources)
    [problem] = InstructionJson.preflight(**given)
    assert 'no such image folder (or CLEVR-Math/images). Get it from the hub' in problem.message
    (tmp_path / 'CLEVR-Math/images').mkdir(parents=True)
    assert InstructionJson.preflight(**given) == []


def test_a_suffix_is_put_behind_test_questions_alone(tmp_path):
    rows = [{'id': str(i), 'text': 'q?', 'answer': answer} for i, answer in enumerate(['Yes', 'no', 'B'])]
    suffix = {'yes|no': ' Yes or no.', '': ' A letter.'}
    asked = load(tmp_path, *rows, suffix=suffix)
    assert [sample.turns[0].text for sample in asked] == ['q? Yes or no.', 'q? Yes or no.', 'q? A letter.']
    assert [sample.meta['prompt'] for sample in asked][2] == 'q? A letter.'
    assert load(tmp_path, *rows, suffix=' Now.')[0].turns[0].text == 'q? Now.'
    trained = load(tmp_path, *[{**TRAIN, **row} for row in rows], suffix=suffix, split='train')
    assert trained[0].turns[0].text == 'What is written on the sign?\nAnswer with one word.'
    assert asked.fingerprint != load(tmp_path, *rows).fingerprint


def test_a_question_on_the_line_of_its_picture(tmp_path):
    sample = load(tmp_path, TEST, image_gap=' ')[0]
    assert sample.turns == (Turn('human', '<image> What brand?\nOne word.'),)
    assert sample.meta['prompt'] == 'What brand?\nOne word.'
    assert load(tmp_path, {**TEST, 'image': None}, image_gap=' ')[0].turns[0].text == 'What brand?\nOne word.'
    assert load(tmp_path, TRAIN, image_gap=' ')[0].turns[0].text == 'What is written on the sign?\nAnswer with one word.'
    given = dict(path=write(tmp_path, [TEST]), root=str(tmp_path), on_bad_image='skip')
    [problem] = InstructionJson.preflight(**given, image_gap='')
    assert "'\\n' or ' ' wanted" in problem.message


def test_what_the_scorer_needs_is_missed_before_the_run(tmp_path):
    rows = [{**TEST, 'question_id': 1, 'answer_type': 'text'}, {**TEST, 'question_id': 2, 'answer_type': None}]
    given = dict(path=write(tmp_path, rows), root=str(tmp_path), on_bad_image='text_only')
    assert InstructionJson.preflight(**given) == []
    few, refs = InstructionJson.preflight(**given, needs=['answer_type|category'], num_references=10)
    assert '1 of 2 rows have no answer_type or category' in few.message
    assert '2 of 2 rows have no 10 gold answers' in refs.message


@pytest.mark.parametrize(('row', 'split', 'message'), [
    (TEST, 'train', "holds test rows ('text' and an answer) only; the train set wants training rows"),
    (TRAIN, 'test', "holds training rows ('conversations') only; the test set wants test rows")])
def test_a_file_of_the_other_split_is_refused(tmp_path, row, split, message):
    given = dict(path=write(tmp_path, [row]), root=str(tmp_path), split=split, on_bad_image='text_only')
    [problem] = InstructionJson.preflight(**given)
    assert message in problem.message and problem.where == str(tmp_path / 'rows.json')
    with pytest.raises(DataError, match='swapped'):
        InstructionJson(**given)


@pytest.mark.parametrize('split', [None, 'train', 'test'])
def test_rows_of_both_splits_in_one_file_are_refused(tmp_path, split):
    for rows in ([TRAIN, TEST, {**TEST, 'question_id': 901}], [TEST, {**TEST, 'question_id': 901}, TRAIN]):
        given = dict(path=write(tmp_path, rows), root=str(tmp_path), split=split, on_bad_image='text_only')
        [problem] = InstructionJson.preflight(**given)
        wanted = split or ('train' if rows[0] is TRAIN else 'test')
        odd = next(at for at, row in enumerate(rows) if (row is TRAIN) != (wanted == 'train'))
        assert f'record {odd} (id ' in problem.where and 'of which this is the first' in problem.message
        with pytest.raises(DataError, match='the file mixes'):
            InstructionJson(**given)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_row_that_holds_both_forms_fits_both_splits(tmp_path, split):
    sample = load(tmp_path, {**TRAIN, 'text': 'What?', 'answer': 'exit'}, split=split)[0]
    assert (sample.turns[-1].role, sample.references) == (('gpt', ()) if split == 'train' else ('human', ('exit',)))


def test_limit_and_fingerprint(tmp_path):
    rows = [{**TEST, 'question_id': i} for i in range(5)]
    assert len(load(tmp_path, *rows, limit=3)) == 3
    assert len(load(tmp_path, *rows, limit=30)) == 5
    with pytest.raises(IndexError, match='3 samples'):
        load(tmp_path, *rows, limit=3)[3]
    prints = {load(tmp_path, *rows).fingerprint, load(tmp_path, *rows, limit=3).fingerprint,
              load(tmp_path, *rows, task='GQA').fingerprint, load(tmp_path, *rows[1:]).fingerprint}
    assert len(prints) == 4
    assert load(tmp_path, *rows).fingerprint == load(tmp_path, *rows).fingerprint


def test_lines_are_read_like_an_array(tmp_path):
    (tmp_path / 'rows.jsonl').write_text('\n'.join(json.dumps({**TEST, 'question_id': i}) for i in range(3)))
    assert [s.id for s in InstructionJson('rows.jsonl', root=str(tmp_path))] == ['0', '1', '2']


@pytest.mark.parametrize('kind', TASKS)
@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_mini_task_written_as_files_reads_back_equal(tmp_path, kind, split):
    mini = Mini(kind, split=split, size=4)
    write_records(mini, tmp_path)
    back = InstructionJson(f'{split}.json', root=str(tmp_path), task=mini.task)
    assert back.split == split
    for ours, theirs in zip(mini, back, strict=True):
        assert (ours.id, ours.turns, ours.references) == (theirs.id, theirs.turns, theirs.references)
        assert split == 'train' or {**ours.meta, 'prompt': ours.turns[0].text} == without(theirs.meta, 'image')
        assert ours.images[0].load().tobytes() == theirs.images[0].load().tobytes()
    assert InstructionJson.preflight(path=f'{split}.json', root=str(tmp_path)) == []


@pytest.mark.parametrize(('row', 'message'), [
    ({'text': 'q', 'answer': 'a'}, "no 'id' or 'question_id'"),
    ({'id': 7, 'text': 'q'}, 'has no answer'),
    ({'id': 7, 'text': 'q', 'answer': ' '}, 'empty answer'),
    ({'id': 7, 'text': 'q', 'answer': None, 'answers': []}, 'has no answer'),
    ({'id': 7, 'answer': 'a'}, "neither 'conversations'"),
    ({'id': 7, 'text': 'q', 'answer': 'a', 'image': 5}, "'image' is 5"),
    ({'id': 7, 'text': 'q', 'answer': 'a', 'image': '../x.png'}, 'leads out of the image root'),
    ({'id': 7, 'text': '<image>\nq', 'answer': 'a'}, '1 <image> in its text and 0'),
    ({'id': 7, 'conversations': []}, 'at least one pair'),
    ({'id': 7, 'conversations': [{'from': 'human', 'value': 'q'}]}, 'has no answer'),
    ({'id': 7, 'conversations': [{'from': 'gpt', 'value': 'a'}]}, 'take turns'),
    ({'id': 7, 'conversations': [{'from': 'system', 'value': 'q'}]}, "'conversations' holds"),
    ({'id': 7, 'conversations': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': ''}]}, 'empty answer'),
    ({'id': 900, 'text': 'q', 'answer': 'a'}, 'has the id of record 0')])
def test_a_wrong_row_is_named_with_file_record_and_id(tmp_path, row, message):
    name = write(tmp_path, [TEST, {**TEST, 'question_id': 'fine'}, row])
    problems = InstructionJson.preflight(path=name, root=str(tmp_path), on_bad_image='skip')
    assert len(problems) == 1
    assert message in problems[0].message
    assert problems[0].where.startswith(f'{tmp_path / name}: record 2')
    assert 'id' not in row or f"(id '{row['id']}')" in problems[0].where
    with pytest.raises(DataError, match='record 2'):
        InstructionJson(name, root=str(tmp_path))


def test_numbers_and_texts_as_ids_are_compared_as_text(tmp_path):
    name = write(tmp_path, [{**TEST, 'question_id': 5}, {**TEST, 'question_id': '5'}])
    [problem] = InstructionJson.preflight(path=name, root=str(tmp_path), on_bad_image='skip')
    assert 'has the id of record 0' in problem.message


def test_many_wrong_rows_are_counted_and_the_first_are_listed(tmp_path):
    name = write(tmp_path, [{'id': i, 'text': 'q'} for i in range(500)])
    problems = InstructionJson.preflight(path=name, root=str(tmp_path))
    assert len(problems) == 21
    assert '480 more records' in problems[-1].message


def test_preflight_names_a_missing_file_folder_and_images(tmp_path):
    root = str(tmp_path)
    [problem] = InstructionJson.preflight(path='none.json', root=root)
    assert 'no such file' in problem.message and 'data.root' in problem.cure
    name = write(tmp_path, [{**TEST, 'question_id': i, 'image': f'a/{i % 4}.jpg'} for i in range(8)])
    [problem] = InstructionJson.preflight(path=name, root=root, image_root='pictures')
    assert "'" + str(tmp_path / 'pictures') + "' does not exist" in problem.message
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/0.jpg').write_bytes(b'x')
    [problem] = InstructionJson.preflight(path=name, root=root)
    assert '3 of 4 images' in problem.message and "'a/1.jpg' (record 1)" in problem.message
    assert InstructionJson.preflight(path=name, root=root, on_bad_image='skip') == []


def test_preflight_names_an_empty_and_a_broken_file(tmp_path):
    assert 'holds no records' in str(InstructionJson.preflight(path=write(tmp_path, []), root=str(tmp_path))[0])
    (tmp_path / 'cut.json').write_text('[{"id": 1')
    assert 'cut short' in str(InstructionJson.preflight(path='cut.json', root=str(tmp_path))[0])


def test_wrong_arguments_are_all_told_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TEST, split='val', on_bad_image='skp', limit=0)
    assert len(caught.value.problems) == 3
    assert "Did you mean 'skip'?" in str(caught.value)


@pytest.mark.parametrize('given', [
    {'needs': 'answer_type'}, {'needs': [5]}, {'annotations': {'kind': 'gqa', 'path': 5}},
    {'annotations': {'kind': 'scienceqa', 'path': 'a.json', 'splits': [5]}}, {'annotations': {'kind': [], 'path': 'a'}}])
def test_arguments_of_another_kind_are_told(tmp_path, given):
    assert InstructionJson.preflight(path=write(tmp_path, [TEST]), root=str(tmp_path), on_bad_image='skip', **given)
    with pytest.raises(ConfigError, match='InstructionJson: (needs|annotations)'):
        load(tmp_path, TEST, **given)


def test_a_row_cannot_say_that_its_picture_was_bad(tmp_path):
    assert 'bad_image' not in load(tmp_path, {**TEST, 'bad_image': 'skip'})[0].meta


@pytest.mark.parametrize('box', ['[0.9,0.8]', '[a,b,c,d]', [0.1, [0.2], 0.3, 0.4], '[nan,0,1,1]', 3, ''])
@pytest.mark.parametrize('key', ['answer_bbox', 'origin_answer_bbox'])
def test_a_gold_box_is_four_numbers(tmp_path, key, box):
    row = {'question_id': 5, 'text': 'box of: bowl', 'answer_bbox': '[0.1,0.2,0.5,0.9]', key: box}
    [problem] = InstructionJson.preflight(path=write(tmp_path, [row]), root=str(tmp_path))
    assert f"'{key}' is {box!r}; four numbers are wanted" in problem.message
    assert 'four numbers' in look_at_row(row).wrong
