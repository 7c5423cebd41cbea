"""The miniature layouts: every file loads, every picture is there, and the names are those of the published folders."""

from __future__ import annotations

import json
import pickle

import pytest

from coinkit.config.instructions import instruction_of
from coinkit.datasets.instructions import InstructionJson
from coinkit.testing import layouts
from coinkit.testing.layouts import Written
from coinkit.testing.layouts.python2 import pickled

CASES = {
    'coin': (layouts.make_coin, {}), 'coin diverse': (layouts.make_coin, {'style': 'diverse'}),
    'coin 10type': (layouts.make_coin, {'style': '10type'}), 'coin_refined': (layouts.make_coin_refined, {}),
    'domain': (layouts.make_mllm_cl_domain, {}), 'domain old': (layouts.make_mllm_cl_domain, {'old_names': True}),
    'ability': (layouts.make_mllm_cl_ability, {}), 'ability old': (layouts.make_mllm_cl_ability, {'old_names': True}),
    'ucit': (layouts.make_ucit, {}), 'ucit mcitlib': (layouts.make_ucit, {'names': 'mcitlib'})}


def image_root(case: str, written: Written, name: str) -> str:
    if case.startswith('coin'):
        return 'cl_dataset'
    shared = case.startswith('ucit') or name.startswith(('router', 'replay'))
    return '' if shared else str(written.files[name].parent.relative_to(written.root))


@pytest.mark.parametrize('case', CASES)
def test_every_file_loads_and_every_picture_is_there(tmp_path, case) -> None:
    make, options = CASES[case]
    written = make(tmp_path, 5, test_rows=3, **options)
    for name, rows in written.rows.items():
        if not rows:
            continue
        where = dict(path=str(written.files[name].relative_to(tmp_path)), root=str(tmp_path),
                     image_root=image_root(case, written, name))
        assert InstructionJson.preflight(**where) == [], name
        dataset = InstructionJson(**where)
        assert len(dataset) == len(rows)
        assert dataset.split == ('test' if name.endswith('/test') else 'train')
        assert all(image.load().size >= (64, 64) for sample in dataset for image in sample.images)
    assert {len(written.rows[name]) for name in written.rows if name.endswith('/train')} == {5}
    assert {len(written.rows[name]) for name in written.rows if name.endswith('/test')} == {3}


def test_the_same_call_writes_the_same_rows(tmp_path) -> None:
    assert layouts.make_coin(tmp_path / 'a', 3).rows == layouts.make_coin(tmp_path / 'b', 3).rows


def test_coin_asks_in_the_words_of_its_config_and_has_the_official_files(tmp_path) -> None:
    written = layouts.make_coin(tmp_path, 4, 'diverse')
    for task, name in (('TextVQA', 'TextVQA'), ('OCR-VQA', 'OCR-VQA')):
        line = instruction_of(task, style='diverse').partition('{}')[2]
        assert all(row['text'].endswith(line) for row in written.rows[f'{name}/test'])
    assert (tmp_path / 'playground/Instructions_Diverse/OCRVQA/train.json').is_file()
    problems = json.loads((tmp_path / 'cl_dataset/ScienceQA/problems.json').read_text())
    assert {row['question_id'] for row in written.rows['ScienceQA/test']} <= problems.keys()
    assert any('image' not in row for row in written.rows['ScienceQA/train'])
    textvqa = json.loads((tmp_path / 'cl_dataset/TextVQA/TextVQA_0.5.1_val.json').read_text())
    assert all(len(record['answers']) == 10 for record in textvqa['data'])
    assert {str(record['question_id']) for record in textvqa['data']} == {
        row['question_id'] for row in written.rows['TextVQA/test']}


def test_refined_coin_asks_imagenet_in_one_line(tmp_path) -> None:
    written = layouts.make_coin_refined(tmp_path, 2)
    assert '\n' not in written.rows['ImageNet/test'][0]['text']
    assert written.files['ImageNet/test'].relative_to(tmp_path).parts[:2] == ('playground', 'Instructions')


def test_old_names_of_mllm_cl(tmp_path) -> None:
    layouts.make_mllm_cl_domain(tmp_path / 'd', 2, old_names=True)
    layouts.make_mllm_cl_ability(tmp_path / 'a', 2, old_names=True)
    for name in ('d/RemoteSensing', 'd/Medical/data', 'd/AD/DriveLM', 'd/Sci', 'a/math2', 'a/tallyqa150k', 'a/CV-Benchv2',
                 'a/App'):
        assert any((tmp_path / name).glob('*.json')), name


def test_captions_of_ucit_follow_the_rows(tmp_path) -> None:
    written = layouts.make_ucit(tmp_path, 2, test_rows=3)
    for task in ('VizWiz-cap', 'Flickr30k-cap'):
        coco = json.loads(written.files[f'{task}/captions'].read_text())
        assert [image['id'] for image in coco['images']] == [1, 2, 3]
        firsts = [next(note['caption'] for note in coco['annotations'] if note['image_id'] == i) for i in (1, 2, 3)]
        assert firsts == [row['answer'] for row in written.rows[f'{task}/test']]
        assert len(coco['annotations']) == 15


@pytest.mark.parametrize('value', [[], {}, 3, 255, 256, -1, 2**31 - 1, 1.5, True, None, 'a', 'é', 'x' * 300,
                                   [{'a': [1, 'b']}]])
def test_python_2_pickles_hold_what_was_put_in(value) -> None:
    assert pickle.loads(pickled(value), encoding='utf-8') == value
    if isinstance(value, str):
        assert pickle.loads(pickled(value), encoding='bytes') == value.encode()  # byte strings, as Python 2's are
