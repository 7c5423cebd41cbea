"""RefCOCO from the original files: exact samples of hand-made refs, refused pickles, and every wrong file named."""

from __future__ import annotations

import json
import os
import pickle

import pytest
from PIL import Image

from coinkit.datasets.refcoco import RefCOCO
from coinkit.datasets.refer_files import read_plain_pickle
from coinkit.errors import ConfigError, DataError
from coinkit.metrics.grounding import GroundingCoin, GroundingMiniGPT
from coinkit.registry import DATASETS
from coinkit.testing.layouts.python2 import pickled
from coinkit.types import Dataset, Prediction, Turn

ASK = 'Please provide the bounding box coordinate of the region this sentence describes: '


def ref(number, split, *sentences, image=1):
    return {'ref_id': number, 'ann_id': 10 + number, 'image_id': image, 'category_id': 1, 'split': split,
            'file_name': f'COCO_train2014_{image:012d}_{number}.jpg', 'sent_ids': list(range(len(sentences))),
            'sentences': [{'sent_id': 100 * number + i, 'sent': text, 'raw': text, 'tokens': text.split()}
                          for i, text in enumerate(sentences)]}


REFS = [ref(0, 'train', 'left bowl', 'the bowl'), ref(1, 'testA', 'man', image=2), ref(2, 'testB', 'cup'),
        ref(3, 'val', 'tall tree', image=2)]
IMAGES = [{'id': 1, 'file_name': 'COCO_train2014_000000000001.jpg', 'width': 640, 'height': 480},
          {'id': 2, 'file_name': 'COCO_train2014_000000000002.jpg', 'width': 200, 'height': 400}]
BOXES = {10: (1, [64, 40, 288, 240]), 11: (2, [0, 0, 200, 400]), 12: (1, [320, 240, 320, 240]), 13: (2, [50, 100, 100, 200])}


@pytest.fixture
def root(tmp_path):
    write(tmp_path, REFS)
    for image in IMAGES:
        file = tmp_path / 'COCO2014/train2014' / image['file_name']
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (image['width'], image['height'])).save(file)
    return tmp_path


def write(root, refs, *, protocol=2, boxes=None):
    folder = root / 'refcoco'
    folder.mkdir(exist_ok=True)
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs, protocol))
    notes = [{'id': key, 'image_id': image, 'bbox': box, 'category_id': 1, 'area': 1, 'iscrowd': 0, 'segmentation': []}
             for key, (image, box) in (boxes or BOXES).items()]
    (folder / 'instances.json').write_text(json.dumps({'images': IMAGES, 'annotations': notes,
                                                       'categories': [{'id': 1, 'name': 'thing'}]}))


def load(root, **arguments):
    return RefCOCO('refcoco', **{'root': str(root), 'image_root': 'COCO2014/train2014', **arguments})


def test_training_samples(root, capsys):
    dataset = load(root, task='Grounding')
    assert capsys.readouterr().out == ''  # pycocotools talks
    assert isinstance(dataset, Dataset) and dataset.split == 'train'
    assert [sample.id for sample in dataset] == ['refcoco_0', 'refcoco_1']
    # 640 x 480: 80 pixels are added above and below; (64, 120, 352, 360) of 640
    assert dataset[0].turns == (Turn('human', f'{ASK}left bowl'), Turn('gpt', '[0.10,0.19,0.55,0.56]'))
    assert (dataset[0].task, dataset[0].references, dataset[0].meta) == ('Grounding', (), {})
    assert dataset[0].images[0].load().size == (640, 480)


def test_test_samples_carry_both_boxes_and_the_size(root):
    sample, = load(root, split='val')
    assert sample.turns == (Turn('human', f'{ASK}tall tree'),)
    # 200 x 400: 100 pixels are added left and right; (150, 100, 250, 300) of 400
    assert sample.references == ('[0.38,0.25,0.62,0.75]',)
    assert sample.meta == {'answer_bbox': '[0.38,0.25,0.62,0.75]', 'origin_answer_bbox': '[0.25,0.25,0.75,0.75]',
                           'size': [200, 400]}


def test_options(root):
    assert [sample.id for sample in load(root, split=['testA', 'testB'])] == ['refcoco_100', 'refcoco_200']
    assert [sample.id for sample in load(root, sentences='first')] == ['refcoco_0']
    assert len(load(root, limit=1)) == 1
    assert load(root, instruction='Box {}!')[0].turns[0].text == 'Box left bowl!'
    with pytest.raises(IndexError, match='2 samples'):
        load(root)[2]


def test_the_fingerprint_follows_files_and_arguments(root):
    prints = {load(root).fingerprint, load(root, split='val').fingerprint, load(root, limit=1).fingerprint,
              load(root, instruction='{}').fingerprint}
    write(root, REFS[:1] + REFS[2:])
    assert len(prints | {load(root).fingerprint}) == 5
    assert load(root).fingerprint == load(root).fingerprint


def test_it_tells_what_it_needs(root):
    needed = RefCOCO.inventory(path='refcoco', root=str(root), image_root='COCO2014/train2014', split='val')
    assert [str(one.path.relative_to(root)) for one in needed] == [
        'refcoco/refs(unc).p', 'refcoco/instances.json', 'COCO2014/train2014']
    assert all(one.path.exists() and one.source for one in needed)


def test_it_is_registered_and_gold_scores_100(root):
    dataset = DATASETS.build(dict(type='RefCOCO', path='refcoco', refs='unc', split=['testA', 'testB', 'val'],
                                  image_root='COCO2014/train2014', root=str(root)))
    gold = [Prediction(sample.id, sample.references[0], sample.references, sample.meta) for sample in dataset]
    assert GroundingCoin().score(gold).value == GroundingCoin(mode='upstream').score(gold).value == 100
    plain = [Prediction(sample.id, sample.meta['origin_answer_bbox'], (), sample.meta) for sample in dataset]
    assert GroundingMiniGPT().score(plain).value == 100


def test_a_scorer_that_wants_no_boxes_is_told_before_the_run(root):
    where = dict(path='refcoco', root=str(root), image_root='COCO2014/train2014', split=['testA', 'testB'])
    for metric in ('grounding_coin', 'grounding_minigpt'):
        assert RefCOCO.preflight(**where, scored_by={'type': metric}) == []
    first, second = RefCOCO.preflight(**where, scored_by={'type': 'textvqa_m4c'})
    assert "record 0 (id 'refcoco_100')" in first.where and 'needs exactly 10' in first.message


# --- pickles ----------------------------------------------------------------------------------------------------


def test_pickles_of_python_2_are_read_in_utf8_and_in_latin1(root):
    content = pickled([ref(0, 'train', 'café', 'cafX')]).replace(b'cafX', b'caf\xe9')
    assert b'caf\xc3\xa9' in content and b'caf\xe9' in content
    (root / 'refcoco/refs(unc).p').write_bytes(content)
    assert [sample.turns[0].text.removeprefix(ASK) for sample in load(root)] == ['café', 'café']


@pytest.mark.parametrize('protocol', [0, 1, 2, 5])
def test_every_protocol_is_read(root, protocol):
    write(root, REFS, protocol=protocol)
    assert len(load(root)) == 2


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_pickle_with_code_is_refused_and_not_run(root, protocol):
    write(root, [*REFS, _Bomb(str(root / 'executed'))], protocol=protocol)
    with pytest.raises(DataError, match=r'refs\(unc\)\.p: wants to load posix\.mkdir, which was not done'):
        load(root)
    assert not (root / 'executed').exists()
    problem, = RefCOCO.preflight(path='refcoco', root=str(root), image_root='COCO2014/train2014')
    assert 'posix.mkdir' in str(problem)


@pytest.mark.parametrize('content', [
    b'cos\nsystem\n(S"touch x"\ntR.', b"(S'touch x'\nios\nsystem\n.", b'\x80\x02cbuiltins\neval\n.',
    b'\x80\x04\x8c\x02os\x8c\x06system\x93.',
    b'\x80\x02\x82\x01.', b'Pexternal\n.'])
def test_every_way_to_name_code_is_refused(tmp_path, content):
    file = tmp_path / 'refs(unc).p'
    file.write_bytes(content)
    with pytest.raises(DataError, match=r'refs\(unc\)\.p'):
        read_plain_pickle(file)


@pytest.mark.parametrize('content', [b'', b'\x80', b'not a pickle', b'\x80\x02]q', b'\x80\x02U\xffshort', b'I99x\n.',
                                     b'\x80\x63.', b'(((((', b'.',
                                     b'\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f', b'}(KKu.', b'h\x05.',
                                     b'\x80\x02]]b.', b'}}]s.'])
def test_broken_pickles_are_one_error(tmp_path, content):
    file = tmp_path / 'refs(unc).p'
    file.write_bytes(content)
    with pytest.raises(DataError, match='is no whole pickle file'):
        read_plain_pickle(file)


# --- other wrong input ------------------------------------------------------------------------------------------


def without(key):
    return [{name: value for name, value in REFS[0].items() if name != key}]


@pytest.mark.parametrize(('refs', 'message'), [
    ({}, 'holds a dict; a list of refs is wanted'), ([], 'a list of refs is wanted'), ([3], 'ref 0 is a int'),
    (without('split'), "ref 0 has no 'split'"), ([{**REFS[0], 'image_id': [1]}], "has a list as 'image_id'"),
    ([{**REFS[0], 'ann_id': 99}], r'ref 0 \(ref_id 0\): its ann_id 99 is not in .*instances.json'),
    ([{**REFS[0], 'image_id': 99}], 'its image_id 99 is not in'),
    ([{**REFS[0], 'sentences': []}], 'has an empty sentence, or none'),
    ([{**REFS[0], 'sentences': [{'sent': 'x'}]}], "not dicts with 'sent_id' and 'sent'"),
    ([{**REFS[0], 'sentences': ['x']}], "not dicts with 'sent_id' and 'sent'")])
def test_wrong_refs_are_named(root, refs, message):
    write(root, refs)
    with pytest.raises(DataError, match=message):
        load(root)
    assert len(RefCOCO.preflight(path='refcoco', root=str(root), image_root='COCO2014/train2014')) == 1


@pytest.mark.parametrize('content', [b'{', b'[]', b'{"images": [{"id": 1}], "annotations": []}', b'\xff\xfe', b'"x"',
                                     b'{"annotations": [{"id": 1}]}'])
def test_wrong_instances_are_named(root, content):
    (root / 'refcoco/instances.json').write_bytes(content)
    with pytest.raises(DataError, match='instances.json.*(is no COCO annotation file|is not in)|is not in .*instances.json'):
        load(root)


def test_missing_files_and_splits_and_pictures_are_told_before_a_run(root):
    where = dict(root=str(root), image_root='COCO2014/train2014')
    assert RefCOCO.preflight(path='refcoco', **where) == []
    told = '\n'.join(map(str, RefCOCO.preflight(path='refcoco', refs='google', **where)))
    assert 'refs(google).p: there is no such file. There: refs(unc).p.' in told
    told = '\n'.join(map(str, RefCOCO.preflight(path='refcoco', split='testC', **where)))
    assert "unknown split 'testC'. Did you mean 'testB'? Allowed: testA, testB, train, val." in told
    told = '\n'.join(map(str, RefCOCO.preflight(path='nowhere', **where)))
    assert 'Get it from the refer package' in told and 'data.root' in told
    (root / 'COCO2014/train2014' / IMAGES[0]['file_name']).unlink()
    problem, = RefCOCO.preflight(path='refcoco', **where)
    assert '1 of 1 images are not in' in str(problem) and IMAGES[0]['file_name'] in str(problem)
    assert RefCOCO.preflight(path='refcoco', on_bad_image='skip', **where) == []


@pytest.mark.parametrize(('arguments', 'message'), [
    ({'sentences': 'one'}, "unknown choice 'one'"), ({'split': []}, 'one name or a list'),
    ({'split': 3}, 'one name or a list'), ({'split': 'tset'}, 'unknown split'),
    ({'split': ['train', 'val']}, 'train is no part of a test set'), ({'instruction': 'box'}, 'where the phrase stands'),
    ({'thin_boxes': 'drop'}, "unknown choice 'drop'"),
    ({'on_bad_image': 'x'}, "unknown policy 'x'"), ({'limit': 0}, 'a whole number from 1')])
def test_wrong_arguments(root, arguments, message):
    with pytest.raises(ConfigError, match=message):
        load(root, **arguments)
    problem, = RefCOCO.preflight(path='refcoco', root=str(root), image_root='COCO2014/train2014', **arguments)
    assert problem
