"""Each converter on a hand-made official file: the exact rows, and one clear error for each thing that can be wrong."""

from __future__ import annotations

import copy
import json

import pytest

from coinkit.config.instructions import instruction_of
from coinkit.datasets.convert import convert, find, source_named
from coinkit.errors import ConfigError, DataError

TEN = ['blue'] * 4 + ['red'] * 4 + ['gray', ' ']
SCIENCEQA = {
    'problems.json': {
        '7': {'question': 'Which is larger?', 'choices': ['a cat', 'a whale'], 'answer': 1, 'hint': '', 'image': None,
              'split': 'train'},
        '2': {'question': 'What is this?', 'choices': ['x', 'y', 'z'], 'answer': 0, 'hint': 'Look.', 'image': 'image.png',
              'split': 'train'},
        '5': {'question': 'Which is cold?', 'choices': ['ice', 'fire'], 'answer': 0, 'hint': '', 'image': 'choice_0.png',
              'split': 'test'}},
    'pid_splits.json': {'train': ['2', '7'], 'val': [], 'test': ['5']}}
TEXTVQA = {f'TextVQA_0.5.1_{subset}.json': {'dataset_type': subset, 'dataset_version': '0.5.1', 'data': [
    {'question': 'what color? ', 'image_id': '00ab', 'question_id': 17, 'answers': TEN, 'set_name': subset}]}
    for subset in ('train', 'val')}
GQA = {f'{subset}_balanced_questions.json': {
    '0713': {'question': 'Is it red?', 'imageId': '2354786', 'answer': 'yes', 'isBalanced': True, 'groups': {}},
    '0714': {'question': 'Is it tall?', 'imageId': 'n12', 'answer': 'no', 'isBalanced': False}}
    for subset in ('train', 'testdev')}
VIZWIZ = {f'{subset}.json': [{'image': f'VizWiz_{subset}_00000003.jpg', 'question': "What's this?", 'answerable': 1,
                              'answers': [{'answer': each, 'answer_confidence': 'yes'} for each in TEN]}]
          for subset in ('train', 'val')}
VQAV2 = {name.format(subset): value for subset in ('train2014', 'val2014') for name, value in {
    'v2_OpenEnded_mscoco_{}_questions.json': {'info': {}, 'questions': [
        {'image_id': 9, 'question': 'How many?', 'question_id': 9001},
        {'image_id': 9, 'question': 'Where?', 'question_id': 9000}]},
    'v2_mscoco_{}_annotations.json': {'info': {}, 'annotations': [
        {'question_id': 9000, 'image_id': 9, 'multiple_choice_answer': 'here', 'answers': []},
        {'question_id': 9001, 'image_id': 9, 'multiple_choice_answer': '2', 'answers': []}], 'data_type': 'mscoco'}}.items()}
OCRVQA = {'dataset.json': {
    '0761': {'imageURL': 'http://x/y.cover.gif?size=2', 'split': 1, 'title': 'T',
             'questions': ['Title?', 'Author?', 'Year?'], 'answers': ['T', 'A. B.', '']},
    '0800': {'imageURL': 'http://x/y.jpg', 'split': 3, 'questions': ['Title?'], 'answers': [' U ']},
    '0900': {'imageURL': 'http://x/y.jpg', 'split': 2, 'questions': ['Title?'], 'answers': ['V']}}}
FILES = {'scienceqa': ('ScienceQA', SCIENCEQA), 'textvqa': ('TextVQA', TEXTVQA), 'gqa': ('GQA', GQA),
         'vizwiz': ('VizWiz', VIZWIZ), 'vqav2': ('VQAv2', VQAV2), 'ocrvqa': ('OCR-VQA', OCRVQA)}
WORD = '\nAnswer the question using a single word or phrase.'
LETTER = "\nAnswer with the option's letter from the given choices directly."


def train(name, image, question, answer):
    value = f'<image>\n{question}' if image else question
    return {'id': name, **({'image': image} if image else {}),
            'conversations': [{'from': 'human', 'value': value}, {'from': 'gpt', 'value': answer}]}


ROWS = {
    'scienceqa': ([train('2', 'ScienceQA/images/train/2/image.png', f'Look.\nWhat is this?\nA. x\nB. y\nC. z{LETTER}', 'A'),
                   train('7', '', f'Which is larger?\nA. a cat\nB. a whale{LETTER}', 'B')],
                  [{'question_id': '5', 'image': 'ScienceQA/images/test/5/choice_0.png',
                    'text': f'Which is cold?\nA. ice\nB. fire{LETTER}', 'answer': 'A', 'choices': ['ice', 'fire']}]),
    'textvqa': ([train('17', 'TextVQA/train_images/00ab.jpg', f'what color?{WORD}', 'blue')],
                [{'question_id': '17', 'image': 'TextVQA/train_images/00ab.jpg', 'text': f'what color?{WORD}',
                  'answers': TEN}]),
    'gqa': ([train('0713', 'GQA/images/2354786.jpg', f'Is it red?{WORD}', 'yes')],
            [{'question_id': '0713', 'image': 'GQA/images/2354786.jpg', 'text': f'Is it red?{WORD}', 'answer': 'yes',
              'is_balanced': True}]),
    'vizwiz': ([train('VizWiz_train_00000003', 'VizWiz/train/VizWiz_train_00000003.jpg', f"What's this?{WORD}", 'blue')],
               [{'question_id': 'VizWiz_val_00000003', 'image': 'VizWiz/val/VizWiz_val_00000003.jpg',
                 'text': f"What's this?{WORD}", 'answer': 'blue', 'answerable': 1}]),
    'vqav2': ([train('9001', 'COCO2014/train2014/COCO_train2014_000000000009.jpg', f'How many?{WORD}', '2'),
               train('9000', 'COCO2014/train2014/COCO_train2014_000000000009.jpg', f'Where?{WORD}', 'here')],
              [{'question_id': name, 'image': 'COCO2014/val2014/COCO_val2014_000000000009.jpg', 'text': f'{question}{WORD}',
                'answer': answer} for name, question, answer in (('9001', 'How many?', '2'), ('9000', 'Where?', 'here'))]),
    'ocrvqa': ([train('0761_0', 'OCR-VQA/images/0761.gif', f'Title?{WORD}', 'T'),
                train('0761_1', 'OCR-VQA/images/0761.gif', f'Author?{WORD}', 'A. B.')],
               [{'question_id': '0800_0', 'image': 'OCR-VQA/images/0800.jpg', 'text': f'Title?{WORD}', 'answer': 'U'}])}
LEFT_OUT = {('gqa', 'train'): {'it is not balanced': 1}, ('gqa', 'test'): {'it is not balanced': 1},
            ('ocrvqa', 'train'): {'it has no answer': 1}}


def put(root, name, files=None):
    folder, made = FILES[name]
    for file, value in (files or made).items():
        path = root / 'cl_dataset' / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


def run(root, name, split, **more):
    source = source_named(name)
    file = root / f'{split}.jsonl'
    report = convert(source, find(source, root, split), split, file, instruction_of(source.task), **more)
    return [json.loads(line) for line in file.read_text().splitlines()], report


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('name', FILES)
def test_the_exact_rows(tmp_path, name, split):
    put(tmp_path, name)
    rows, report = run(tmp_path, name, split)
    assert rows == ROWS[name][split == 'test']
    assert report.rows == len(rows)
    assert report.left_out == LEFT_OUT.get((name, split), {})
    assert report.without_image == sum('image' not in row for row in rows)


def changed(name, change):
    files = copy.deepcopy(FILES[name][1])
    change(files)
    return files


def first(files, subset=''):
    """The first record of the first file whose name holds `subset`."""
    value = next(value for file, value in files.items() if subset in file)
    for key in ('data', 'questions', 'annotations'):
        if isinstance(value, dict) and isinstance(value.get(key), list):
            value = value[key]
    return next(iter(value.values())) if isinstance(value, dict) else value[0]


@pytest.mark.parametrize(('name', 'change', 'message'), [
    ('scienceqa', lambda f: first(f).pop('choices'), r"problems.json: record '7': has no 'choices'"),
    ('scienceqa', lambda f: first(f).update(answer=2), r"record '7': its answer is 2 and it has 2 choices"),
    ('scienceqa', lambda f: first(f).update(answer=True), "'answer' is True; a whole number"),
    ('scienceqa', lambda f: first(f).update(choices=['a'] * 6), 'has 6 choices; 2 to 5'),
    ('scienceqa', lambda f: f['pid_splits.json']['train'].append('99'), "train split has the problem '99', which is not"),
    ('scienceqa', lambda f: f['pid_splits.json'].pop('train'), "pid_splits.json: record of splits: has no list 'train'"),
    ('scienceqa', lambda f: f['pid_splits.json']['train'].append(7), "'train' has the id '7' twice"),
    ('scienceqa', lambda f: f['pid_splits.json']['train'].append(None), "record 2 of train: 'train' is None; a text"),
    ('scienceqa', lambda f: first(f).update(hint=5), "'hint' is 5; a text"),
    ('gqa', lambda f: first(f).update(isBalanced='false'), "'isBalanced' is 'false'; true or false"),
    ('ocrvqa', lambda f: first(f).update(imageURL='http://['), "'imageURL' is no address"),
    ('textvqa', lambda f: first(f).update(question_id=' '), "'question_id' is ' '"),
    ('vizwiz', lambda f: first(f).update(image=''), 'because its id is blank'),
    ('textvqa', lambda f: first(f).update(answers=[1]), "record 0: 'answers' holds 1; texts"),
    ('textvqa', lambda f: f['TextVQA_0.5.1_train.json'].pop('data'), "has no list 'data'"),
    ('gqa', lambda f: first(f).pop('imageId'), "record '0713': has no 'imageId'"),
    ('gqa', lambda f: f.update({'train_balanced_questions.json': []}), 'holds a list; an object'),
    ('vizwiz', lambda f: first(f).pop('image'), "train.json: record 0: has no 'image'"),
    ('vizwiz', lambda f: f.update({'train.json': {}}), 'holds an object; a list'),
    ('vqav2', lambda f: first(f, 'annotations').update(question_id=4),
     r'questions.json: 1 questions have no annotation in .*annotations.json: 9000'),
    ('vqav2', lambda f: f['v2_OpenEnded_mscoco_train2014_questions.json']['questions'].pop(),
     r'annotations.json: 1 annotations have no question in .*questions.json: 9000'),
    ('vqav2', lambda f: first(f, 'annotations').update(image_id=4), 'question 9000 is on image 9, and on image 4'),
    ('vqav2', lambda f: first(f, 'annotations').update(question_id=9001), 'question 9001 is annotated twice'),
    ('vqav2', lambda f: first(f, 'questions').update(question_id=9000), '1 questions have no annotation'),
    ('vqav2', lambda f: first(f, 'annotations').pop('multiple_choice_answer'), "has no 'multiple_choice_answer'"),
    ('ocrvqa', lambda f: first(f)['answers'].pop(), "record '0761': has 3 questions and 2 answers"),
    ('ocrvqa', lambda f: first(f).update(split='train'), "'split' is 'train'; a whole number"),
    ('ocrvqa', lambda f: first(f).update(split=4), 'its split is 4'),
    ('vizwiz', lambda f: f['train.json'].append(f['train.json'][0]), "the id 'VizWiz_train_00000003' stands twice"),
    ('textvqa', lambda f: first(f).update(answers=[' ']), 'no row to write. Left out: 1 because it has no answer .17.'),
    ('textvqa', lambda f: first(f).update(question='what is <image>?'), 'because its question holds <image>'),
    ('gqa', lambda f: first(f).update(answer='\ud800'), 'because its text is no valid Unicode'),
    ('gqa', lambda f: first(f).update(question='  '), 'because its question is empty')])
def test_wrong_annotations_are_one_error_and_leave_no_file(tmp_path, name, change, message):
    put(tmp_path, name, changed(name, change))
    with pytest.raises(DataError, match=message):
        run(tmp_path, name, 'train')
    assert not [path for path in tmp_path.iterdir() if path.name != 'cl_dataset']


@pytest.mark.parametrize('name', FILES)
def test_bytes_that_are_no_text_are_one_error(tmp_path, name):
    put(tmp_path, name)
    for file in (tmp_path / 'cl_dataset').rglob('*.json'):
        file.write_bytes(file.read_bytes().replace(b'question', b'qu\xe9stion', 1).replace(b'val', b'v\xe9l', 1))
    with pytest.raises(DataError, match='no UTF-8 text near byte'):
        run(tmp_path, name, 'train')


def test_ten_answers_are_needed_to_test_textvqa(tmp_path):
    put(tmp_path, 'textvqa', changed('textvqa', lambda files: first(files, 'val').update(answers=['a'] * 9)))
    with pytest.raises(DataError, match='has 9 answers; 10 are wanted'):
        run(tmp_path, 'textvqa', 'test')


def test_rows_without_their_picture_are_left_out_when_asked(tmp_path):
    put(tmp_path, 'scienceqa')
    rows, report = run(tmp_path, 'scienceqa', 'train', need_images=True)
    assert [row['id'] for row in rows] == ['7']  # it has none
    assert report.left_out == {'its picture is not there': 1} and report.examples == {'its picture is not there': ['2']}
    picture = tmp_path / 'cl_dataset/ScienceQA/images/train/2/image.png'
    picture.parent.mkdir(parents=True)
    picture.touch()
    assert len(run(tmp_path, 'scienceqa', 'train', need_images=True)[0]) == 2


def test_missing_files_are_told_with_all_places_and_their_origin(tmp_path):
    (tmp_path / 'cl_dataset').mkdir()
    with pytest.raises(ConfigError) as error:
        find(source_named('vqav2'), tmp_path, 'test')
    told = str(error.value)
    assert told.startswith('2 problems') and 'visualqa.org' in told
    assert str(tmp_path / 'cl_dataset/COCO2014/annotations/v2_mscoco_val2014_annotations.json') in told


def test_a_root_without_cl_dataset_and_a_folder_of_annotations(tmp_path):
    put(tmp_path, 'gqa')
    inner = tmp_path / 'cl_dataset'
    assert find(source_named('GQA'), inner, 'train').image_root == inner
    found = find(source_named('gqa'), tmp_path, 'train', annotations=inner / 'GQA')
    assert found.files['questions'].is_file() and found.image_root == inner


def test_names_of_sources():
    assert source_named('OCR-VQA').task == 'OCR-VQA'
    with pytest.raises(ConfigError, match="unknown source 'vizwhiz'. Did you mean 'vizwiz'"):
        source_named('vizwhiz')


# --- ImageNet ---------------------------------------------------------------------------------------------------


def put_imagenet(root, *paths, names=None):
    folder = root / 'cl_dataset/ImageNet_withlabel'
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    if names is not None:
        (folder / 'LOC_synset_mapping.txt').write_bytes(names)


def test_imagenet_rows_follow_the_folders(tmp_path):
    put_imagenet(tmp_path, 'train/n01440764/b.JPEG', 'train/n01440764/a.JPEG', 'train/n01440764/note.txt',
                 'train/great_owl/c.jpg', 'val/n01440764/v.JPEG', names=b'n01440764 tench, Tinca tinca\n')
    ask = f'What is the object in the image?{WORD}'
    assert run(tmp_path, 'imagenet', 'train')[0] == [
        train(f'train_{folder}_{name}', f'ImageNet_withlabel/train/{folder}/{name}.{ending}', ask, answer)
        for folder, name, ending, answer in (('great_owl', 'c', 'jpg', 'great owl'), ('n01440764', 'a', 'JPEG', 'tench'),
                                             ('n01440764', 'b', 'JPEG', 'tench'))]
    assert run(tmp_path, 'imagenet', 'test')[0] == [
        {'question_id': 'test_n01440764_v', 'image': 'ImageNet_withlabel/val/n01440764/v.JPEG', 'text': ask,
         'answer': 'tench'}]


@pytest.mark.parametrize(('paths', 'names', 'message'), [
    (('train/n01440764/a.JPEG',), None, 'there is no LOC_synset_mapping.txt beside it'),
    (('train/n01440764/a.JPEG',), b'n01440765 dog', "the class 'n01440764' has no name: it is not in"),
    (('train/n01440764/a.JPEG',), b'tench', "line 1 is 'tench'"), (('train/n01440764/a.JPEG',), b'\xff', 'UTF-8'),
    (('train/ILSVRC2012_val_00000001.JPEG',), b'', 'holds no class folders'),
    (('train/owl/a.txt',), b'', 'because the class folder holds no picture')])
def test_wrong_imagenet_folders(tmp_path, paths, names, message):
    put_imagenet(tmp_path, *paths, names=names)
    with pytest.raises(DataError, match=message):
        run(tmp_path, 'imagenet', 'train')
