"""Damaged files of RefCOCO: each is one error that names file and id; boxes too thin for two decimals; odd picture names."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinkit.data.images import BadImagePolicy
from coinkit.datasets.convert import convert, find, source_named
from coinkit.datasets.refcoco import RefCOCO
from coinkit.datasets.refer_files import read_referred
from coinkit.errors import BadImage, CoinkitError, DataError
from coinkit.metrics.grounding import GroundingCoin
from coinkit.types import Prediction

THIN = [100, 20, 4, 200]  # 0.156 to 0.163 of 640
WHERE = {'path': 'refcoco', 'image_root': 'COCO2014/train2014'}


def ref(number, split='train', *, image=1, sentences=None, **more):
    sentences = [{'sent_id': 10 * number, 'sent': f'thing {number}'}] if sentences is None else sentences
    return {'ref_id': number, 'ann_id': 100 + number, 'image_id': image, 'split': split, 'sentences': sentences, **more}


def note(number, box=(64, 40, 288, 240), image=1, **more):
    return {'id': 100 + number, 'image_id': image, 'bbox': list(box), 'category_id': 1, **more}


IMAGE = {'id': 1, 'file_name': 'a.jpg', 'width': 640, 'height': 480}


def write(root, refs, notes, images=(IMAGE,)):
    folder = root / 'refcoco'
    folder.mkdir(exist_ok=True)
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs, 2))
    (folder / 'instances.json').write_text(json.dumps({'images': list(images), 'annotations': notes}))
    pictures = root / WHERE['image_root']
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / 'a.jpg').write_bytes(b'x')
    return root


def problems(root, **more):
    return [str(problem) for problem in RefCOCO.preflight(root=str(root), **{**WHERE, **more})]


def load(root, **more):
    return RefCOCO(root=str(root), **{**WHERE, **more})


NAN, INF, HUGE = float('nan'), float('inf'), 1 << 20_000


@pytest.mark.parametrize(('refs', 'notes', 'images', 'file', 'message'), [
    ([ref(1)], [note(1, (NAN, 0, 5, 5))], [IMAGE], 'refs(unc).p', '(ref_id 1): its box [nan, 0, 5, 5]'),
    ([ref(1)], [note(1, (0, 0, INF, 5))], [IMAGE], 'refs(unc).p', '(ref_id 1): its box [0, 0, inf, 5]'),
    ([ref(1)], [note(1, (0, 0, -4, 5))], [IMAGE], 'refs(unc).p', '(ref_id 1): its box'),
    ([ref(1)], [note(1, (True, 0, 5, 5))], [IMAGE], 'refs(unc).p', 'four finite numbers'),
    ([ref(1)], [note(1, ('1', 0, 5, 5))], [IMAGE], 'refs(unc).p', 'four finite numbers'),
    ([ref(1)], [{**note(1), 'bbox': '1234'}], [IMAGE], 'refs(unc).p', "its box '1234'"),
    ([ref(1)], [note(1, image=2)], [IMAGE, {**IMAGE, 'id': 2}], 'refs(unc).p',
     '(ref_id 1): its image_id is 1, and its ann_id 101 is on the image 2'),
    ([ref(1), ref(2, sentences=[{'sent_id': 10, 'sent': 'x'}])], [note(1), note(2)], [IMAGE], 'refs(unc).p',
     'the sent_id 10 is there twice, in ref_id 1 and ref_id 2'),
    ([ref(1, sentences=[{'sent_id': 1, 'sent': 5}])], [note(1)], [IMAGE], 'refs(unc).p', "{'sent': 5, 'sent_id': 1}"),
    ([ref(1, sentences=[{'sent_id': 1.5, 'sent': 'x'}])], [note(1)], [IMAGE], 'refs(unc).p', 'a whole number and a text: '),
    ([ref(1, sentences=[{'sent_id': HUGE, 'sent': 'x'}])], [note(1)], [IMAGE], 'refs(unc).p', 'a number of 20001 bits'),
    ([ref(1, sentences=[{'sent_id': 1, 'sent': '\ud800'}])], [note(1)], [IMAGE], 'refs(unc).p', 'half of a character'),
    ([{**ref(1), 'ann_id': HUGE}], [note(1)], [IMAGE], 'refs(unc).p', "'ann_id'; a whole number"),
    ([{**ref(1), 'ref_id': True}], [note(1)], [IMAGE], 'refs(unc).p', "has a bool as 'ref_id'"),
    ([ref(1)], [note(1)], [{**IMAGE, 'file_name': 5}], 'instances.json', 'the image with id 1 has file_name=5'),
    ([ref(1)], [note(1)], [{**IMAGE, 'width': 640.5}], 'instances.json', 'width=640.5'),
    ([ref(1)], [note(1)], [{**IMAGE, 'height': 0}], 'instances.json', 'height=0'),
    ([ref(1)], [note(1), note(1, (1, 2, 3, 4))], [IMAGE], 'instances.json', 'annotations have the id 101 and differ'),
    ([ref(1)], [note(1)], [IMAGE, {**IMAGE, 'width': 1}], 'instances.json', 'images have the id 1 and differ')])
def test_damage_is_named_with_its_file(tmp_path, refs, notes, images, file, message):
    write(tmp_path, refs, notes, images)
    [problem] = problems(tmp_path)
    assert problem.startswith(str(tmp_path / 'refcoco' / file)) and message in problem
    with pytest.raises(DataError):
        load(tmp_path)


def test_a_key_twice_and_an_annotation_twice(tmp_path):
    write(tmp_path, [ref(1)], [note(1), note(1)])
    assert problems(tmp_path) == [], 'the same annotation'
    file = tmp_path / 'refcoco/instances.json'
    file.write_text(file.read_text().replace('"bbox": [', '"bbox": [1, 2, 3, 4], "bbox": [', 1))
    assert "'bbox' is there twice in one object" in problems(tmp_path)[0]


# --- thin boxes -------------------------------------------------------------------------------------------------


@pytest.fixture
def thin(tmp_path):
    refs = [ref(1), ref(2, sentences=[{'sent_id': 20, 'sent': 'a'}, {'sent_id': 21, 'sent': 'b'}]), ref(3, 'testA'),
            ref(4, 'testA'), ref(5, 'testB')]
    return write(tmp_path, refs, [note(1), note(2, THIN), note(3), note(4, THIN), note(5, (5, 5, 0, 9))])


def test_what_has_no_area_at_two_decimals_is_not_trained_on_and_is_told(thin, caplog):
    dataset = load(thin, thin_boxes='keep')
    assert [sample.id for sample in dataset] == ['refcoco_10'] and dataset.left_out == 2
    assert 'refs(unc).p train: 2 of 3 phrases left out' in caplog.text and '(refcoco_20, refcoco_21)' in caplog.text
    assert problems(thin) == []


def test_the_denominator_of_a_test_set_changes_only_where_that_is_said(thin, caplog):
    dataset = load(thin, split='testA')
    assert [sample.id for sample in dataset] == ['refcoco_30', 'refcoco_40'] and dataset.left_out == 0
    assert dataset[1].references == ('[0.16,0.16,0.16,0.47]',), 'as published: two decimals'
    assert not caplog.records
    gold = [Prediction(sample.id, sample.references[0], sample.references, sample.meta) for sample in dataset]
    assert GroundingCoin().score(gold).value == 50, 'no answer meets a box without area'
    fewer = load(thin, split='testA', thin_boxes='leave_out')
    assert [sample.id for sample in fewer] == ['refcoco_30'] and fewer.left_out == 1
    assert 'testA: 1 of 2 phrases left out' in caplog.text
    assert fewer.fingerprint != dataset.fingerprint
    assert 'there is nothing to ask' in problems(thin, split='testB', thin_boxes='leave_out')[0]


def test_the_converter_counts_them(thin):
    source = source_named('refcoco')
    for split, rows, left_out in (('train', ['refcoco_10'], 2), ('test', ['refcoco_30', 'refcoco_40', 'refcoco_50'], 0)):
        file = thin / f'{split}.jsonl'
        found = find(source, thin, split)
        report = convert(source, found, split, file, 'Box of {}')
        written = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row.get('id', row.get('question_id')) for row in written] == rows
        assert report.left_out == ({'its box has no area at 2 decimals': left_out} if left_out else {})


# --- names of pictures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['../../refcoco/instances.json', '/etc/passwd'])
def test_a_name_that_leads_out_of_the_pictures_folder(tmp_path, name):
    images = [{**IMAGE, 'file_name': name}, {**IMAGE, 'id': 2}]
    write(tmp_path, [ref(1), ref(2, image=2)], [note(1), note(2, image=2)], images)
    [problem] = problems(tmp_path)
    assert '1 of 2 images cannot be used' in problem and f"image '{name}': leads out of the image root" in problem
    assert problems(tmp_path, on_bad_image='skip') == []
    sample = load(tmp_path, on_bad_image='skip')[0]
    with pytest.raises(BadImage, match='leads out') as caught:
        sample.images[0].load()
    policy = BadImagePolicy('skip')
    assert policy.resolve(sample, caught.value) is None and policy.report()['skipped'] == 1
    with pytest.raises(BadImage):
        _ = sample.images[0].size


# --- any values -------------------------------------------------------------------------------------------------


NUMBERS = st.integers() | st.floats() | st.booleans() | st.just(HUGE)
VALUES = st.none() | NUMBERS | st.text(max_size=4) | st.lists(NUMBERS, max_size=5) | st.binary(max_size=3)
JSONABLE = (st.none() | st.integers(-9, 2**70) | st.floats() | st.booleans() | st.text(max_size=4) |
            st.lists(st.floats(), max_size=5))


@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_values_are_samples_or_one_error_of_ours(tmp_path, data):
    def damaged(value, values):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: data.draw(values)}

    refs = [ref(1), ref(2, image=2)]
    sentence = damaged(refs[0]['sentences'][0], VALUES)
    refs[0] = data.draw(st.sampled_from([damaged(refs[0], VALUES), {**refs[0], 'sentences': [sentence]}, refs[0]]))
    notes, images = [note(1), note(2, image=2)], [IMAGE, {**IMAGE, 'id': 2}]
    notes[0] = data.draw(st.sampled_from([damaged(notes[0], JSONABLE), notes[0]]))
    images[0] = data.draw(st.sampled_from([damaged(images[0], JSONABLE), images[0]]))
    write(tmp_path, refs, notes, images)
    read_referred.__globals__['_read'].cache_clear()  # files of one moment
    found = problems(tmp_path, on_bad_image='skip')
    try:
        samples = list(load(tmp_path, on_bad_image='skip'))
    except CoinkitError:
        assert found
        return
    assert not found and all(sample.turns and json.dumps(sample.meta) for sample in samples)
