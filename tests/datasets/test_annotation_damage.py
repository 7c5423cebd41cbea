"""Damaged annotation files: each is one problem that names file, record, key, what is there and what is allowed."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinkit.datasets.annotations import Annotations
from coinkit.datasets.instructions import InstructionJson
from coinkit.errors import CoinkitError, DataError

SCIENCE = {'kind': 'scienceqa', 'path': 'gold.json', 'splits': 'splits.json'}
PROBLEM = {'choices': ['a', 'b'], 'answer': 1}
VISTA = {'question_type': 'multi_choice', 'answer_type': 'text', 'answer': 'blue', 'choices': ['red', 'blue']}
TEN = ['exit'] * 10


def told(tmp_path, kind, content, splits='{"test": ["7"]}', ids=('7',)) -> str:
    (tmp_path / 'gold.json').write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / 'splits.json').write_text(splits)
    (tmp_path / 'rows.json').write_text(json.dumps([{'question_id': each, 'text': 'q?'} for each in ids]))
    annotations = SCIENCE if kind == 'scienceqa' else {'kind': kind, 'path': 'gold.json'}
    found = InstructionJson.preflight(path='rows.json', root=str(tmp_path), annotations=annotations)
    if found:
        with pytest.raises(CoinkitError):
            InstructionJson('rows.json', root=str(tmp_path), annotations=annotations)
    return '\n'.join(map(str, found))


def science(**more):
    return {'7': {**PROBLEM, **more}}


def textvqa(*answers, **more):
    return {'data': [{'question_id': 7, 'answers': each, **more} for each in answers]}


def gqa(**more):
    return {'7': {'answer': 'yes', **more}}


def captions(images=({'id': 1},), annotations=({'image_id': 1, 'caption': 'a mug'},)):
    return {'images': list(images), 'annotations': list(annotations)}


NAN = float('nan')


@pytest.mark.parametrize(('kind', 'content', 'message'), [
    ('scienceqa', '{"7": {"choices": ["a", "b"], "answer": 0}, "7": {"choices": ["a", "b"], "answer": 1}}',
     "the key '7' is there twice"),
    ('scienceqa', '{"7": {"choices": ["a", "b"], "answer": 0, "answer": 1}}', "the key 'answer' is there twice"),
    ('scienceqa', science(answer=-1), "'7': its answer is -1 and it has 2 choices; 0 to 1 is wanted"),
    ('scienceqa', science(answer=2), "its answer is 2"),
    ('scienceqa', science(answer=10**400), 'its answer is <a number of 1329 bits>'),
    ('scienceqa', science(answer=True), "'answer' is True; a whole number"),
    ('scienceqa', science(answer=0.9), "'answer' is 0.9; a whole number"),
    ('scienceqa', '{"7": {"choices": ["a", "b"], "answer": 1e999}}', "'answer' is inf"),
    ('scienceqa', science(answer='1'), "'answer' is '1'"), ('scienceqa', science(choices='ab'), "'choices' is 'ab'; a list"),
    ('scienceqa', science(choices=['a', 5]), "'choices' holds 5; texts"),
    ('scienceqa', science(choices=list('abcdefg')), 'has 7 choices; 2 to 5'),
    ('scienceqa', {'7': 5}, "record '7' is a int"), ('scienceqa', [], 'is a list; an object'),
    ('scienceqa', {'8': PROBLEM}, "the problem '7', which is not in"),
    ('textvqa', textvqa(TEN, TEN), "record 1 of data: its question_id '7' is that of an earlier record"),
    ('textvqa', textvqa('abcdefghij'), "record 0 of data: 'answers' is 'abcdefghij'; a list"),
    ('textvqa', textvqa([None] * 10), "'answers' holds None; texts"),
    ('textvqa', textvqa([5] * 10), "'answers' holds 5"),
    ('textvqa', textvqa(TEN, question_id=1.5), "'question_id' is 1.5"), ('textvqa', textvqa(TEN, question_id=' '), "is ' '"),
    ('textvqa', {'data': {}}, "'data' is {}; a list"), ('textvqa', {'dat': []}, "has no 'data'. Its keys: dat."),
    ('gqa', gqa(isBalanced='false'), "'7': 'isBalanced' is 'false'; true or false"),
    ('gqa', gqa(isBalanced=0), "'isBalanced' is 0"), ('gqa', gqa(answer=None), "'answer' is None; a text"),
    ('gqa', {'7': {}}, "has no 'answer'"), ('gqa', {'7': ['yes']}, "record '7' is a list"),
    ('gqa', '{"7": {"answer": "\\ud800"}}', 'cannot be read as JSON'),
    ('gqa', '[' * 100_000, 'cannot be read as JSON'), ('gqa', '{"7": ' * 100_000, 'cannot be read as JSON'),
    ('gqa', '{"7": ' + '9' * 5_000 + '}', 'cannot be read as JSON'),
    ('mathvista', {'7': {**VISTA, 'answer': 'green'}}, "'answer' 'green' is none of its choices"),
    ('mathvista', {'7': {**VISTA, 'choices': [*map(str, range(26)), 'blue']}}, 'none of its choices A to Z'),
    ('mathvista', {'7': {**VISTA, 'choices': 'red or blue'}}, "'choices' is 'red or blue'; a list"),
    ('mathvista', {'7': {**VISTA, 'answer': 5}}, "'answer' is 5; a text"),
    ('mathvista', {'7': {**VISTA, 'question_type': None}}, "'question_type' is None"),
    ('coco_captions', captions(images=[{'id': 1}, {'id': '1'}]), "record 1 of images: its id '1' is that of an earlier"),
    ('coco_captions', captions(images=[{'id': 1}, {'id': 2}]), '1 of 2 images have no caption: 2'),
    ('coco_captions', captions(annotations=[{'image_id': 3, 'caption': 'a'}]), "its image_id '3' is none of the file's"),
    ('coco_captions', captions(annotations=[{'image_id': 1, 'caption': None}]), "'caption' is None; a text"),
    ('coco_captions', captions(annotations=[{'image_id': 1, 'caption': ' '}]), '1 of 1 images have no caption'),
    ('coco_captions', captions(images=[{'id': 1, 'file_name': 5}]), "'file_name' is 5"),
    ('coco_captions', captions(images=[{'id': NAN}]), "'id' is nan")])
def test_damage_is_named(tmp_path, kind, content, message):
    said = told(tmp_path, kind, content)
    assert message in said and 'gold.json' in said and len(said) < 900
    assert 'is not valid' in said or 'cannot be read' in said or f"annotations of kind '{kind}'" in said


@pytest.mark.parametrize(('splits', 'message'), [
    ('{"test": ["7", 7]}', "record of splits: 'test' has the id '7' twice"), ('{"val": ["7"]}', "has no list 'test'"),
    ('{"test": [["7"]]}', "is ['7']; a text or a whole number"), ('[]', 'is a list'),
    ('{"test": ["7"], "test": ["7"]}', "'test' is there twice"), ('{"test": [true]}', 'is True')])
def test_splits_are_looked_at_too(tmp_path, splits, message):
    said = told(tmp_path, 'scienceqa', science(), splits)
    assert message in said and 'splits.json' in said


def test_what_is_whole_is_taken(tmp_path):
    assert told(tmp_path, 'scienceqa', science()) == ''
    assert told(tmp_path, 'textvqa', textvqa(TEN)) == ''
    assert told(tmp_path, 'gqa', gqa(isBalanced=True)) == '' and told(tmp_path, 'gqa', gqa()) == ''
    assert told(tmp_path, 'mathvista', {'7': VISTA}) == ''
    assert told(tmp_path, 'coco_captions', captions(), ids=('1',)) == ''
    free = {**VISTA, 'question_type': 'free_form', 'choices': None, 'answer': '14', 'answer_type': 'integer'}
    assert told(tmp_path, 'mathvista', {'7': free}) == ''


def test_a_split_has_a_name():
    [problem] = Annotations.wrong({**SCIENCE, 'split': ['test']})
    assert "given ['test'], allowed: the name of a split" in problem.message


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) |
                      st.sampled_from(['a', 'blue', 10**400]),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
                      max_leaves=5)
WHOLE = {'scienceqa': science(), 'textvqa': textvqa(TEN), 'gqa': gqa(), 'mathvista': {'7': VISTA},
         'coco_captions': captions(images=[{'id': 1, 'file_name': 'a.jpg'}])}


@settings(max_examples=120, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(sorted(WHOLE)))
def test_any_value_is_gold_or_an_error_of_ours(tmp_path, data, kind):
    def damaged(value, depth):
        keys = sorted(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        if not keys or depth == 0:
            return data.draw(VALUES)
        key = data.draw(st.sampled_from(list(keys)))
        changed = value.copy()
        changed[key] = damaged(value[key], depth - 1)
        return changed

    (tmp_path / 'gold.json').write_text(json.dumps(damaged(WHOLE[kind], data.draw(st.integers(0, 4)))))
    (tmp_path / 'splits.json').write_text(json.dumps({'test': ['7']}))
    annotations = Annotations(**(SCIENCE if kind == 'scienceqa' else {'kind': kind, 'path': 'gold.json'}))
    try:
        table = annotations.table(str(tmp_path))
    except DataError as error:
        assert '.json' in str(error)
        return
    assert all(isinstance(text, str) for gold in table.values() for text in gold.references)
