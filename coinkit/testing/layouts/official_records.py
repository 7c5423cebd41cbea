"""Official annotation records made from items: pure functions, one per format, with the fields the real files have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coinkit.testing.layouts.coin_items import BOOK_FIELDS, Item

Splits = Mapping[str, Sequence[Item]]  # 'train' and 'test'
LICENSE = {'url': 'http://creativecommons.org/licenses/by/4.0/', 'name': 'Creative Commons Attribution 4.0'}


def scienceqa_problems(splits: Splits) -> dict[str, Any]:
    """problems.json: id -> problem; `answer` is the index of the right choice, `image` a file name or null."""
    return {item.id: {
        'question': item.extra['question'], 'choices': item.extra['choices'], 'answer': item.extra['gold'], 'hint': '',
        'image': 'image.png' if item.image else None, 'task': 'closed choice', 'grade': 'grade2',
        'subject': 'natural science', 'topic': 'shapes', 'category': 'Scenes', 'skill': 'Look', 'lecture': '',
        'solution': '', 'split': split} for split, items in splits.items() for item in items}


def scienceqa_splits(splits: Splits) -> dict[str, list[str]]:
    """pid_splits.json."""
    train, test = ([item.id for item in splits[split]] for split in ('train', 'test'))
    return {'train': train, 'val': [], 'test': test, 'minitrain': train[:2], 'minival': [], 'minitest': test[:2],
            'trainval': train}


def textvqa(items: Sequence[Item], subset: str) -> dict[str, Any]:
    """TextVQA_0.5.1_{train,val}.json."""
    return {'dataset_type': subset, 'dataset_name': 'textvqa', 'dataset_version': '0.5.1', 'data': [{
        'question': item.question, 'image_id': item.extra['image_id'], 'image_classes': ['Sign'],
        'flickr_original_url': '', 'flickr_300k_url': '', 'image_width': 64, 'image_height': 64,
        'answers': item.extra['answers'], 'question_tokens': item.question.rstrip('?').split(),
        'question_id': int(item.id), 'set_name': subset} for item in items]}


def gqa(items: Sequence[Item]) -> dict[str, Any]:
    """{train,testdev}_balanced_questions.json: id -> question."""
    return {item.id: {
        'semantic': [], 'entailed': [], 'equivalent': [item.id], 'question': item.question,
        'imageId': item.extra['image_id'], 'isBalanced': True, 'groups': {'global': None, 'local': '10q-scene'},
        'answer': item.answer, 'semanticStr': '', 'annotations': {'answer': {}, 'question': {}, 'fullAnswer': {}},
        'types': {'detailed': 'relVerify', 'semantic': 'rel', 'structural': 'verify'},
        'fullAnswer': f'It is {item.answer}.'} for item in items}


def vizwiz(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Annotations/{train,val}.json."""
    return [{'image': item.extra['file'], 'question': item.question,
             'answers': [{'answer_confidence': 'yes', 'answer': answer} for answer in item.extra['answers']],
             'answer_type': 'other' if item.extra['answerable'] else 'unanswerable',
             'answerable': item.extra['answerable']} for item in items]


def vqav2_questions(items: Sequence[Item], subset: str) -> dict[str, Any]:
    """v2_OpenEnded_mscoco_{train,val}2014_questions.json."""
    return {'info': {'year': 2017, 'version': '2.0'}, 'task_type': 'Open-Ended', 'data_type': 'mscoco', 'license': LICENSE,
            'data_subtype': subset, 'questions': [
                {'image_id': item.extra['image_id'], 'question': item.question, 'question_id': int(item.id)}
                for item in items]}


def vqav2_annotations(items: Sequence[Item], subset: str) -> dict[str, Any]:
    """v2_mscoco_{train,val}2014_annotations.json."""
    return {'info': {'year': 2017, 'version': '2.0'}, 'license': LICENSE, 'data_subtype': subset, 'annotations': [{
        'question_type': 'how many', 'multiple_choice_answer': item.answer,
        'answers': [{'answer': answer, 'answer_confidence': 'yes', 'answer_id': number + 1}
                    for number, answer in enumerate(item.extra['answers'])],
        'image_id': item.extra['image_id'], 'answer_type': 'number', 'question_id': int(item.id)} for item in items],
        'data_type': 'mscoco'}


def ocrvqa(splits: Splits) -> dict[str, Any]:
    """dataset.json: id of the book -> its questions; `split` is 1 (train), 2 (val) or 3 (test)."""
    books: dict[str, Any] = {}
    for split, items in splits.items():
        for item in items:
            name = item.extra['book']
            record = books.setdefault(name, {
                'imageURL': f'http://images.example/{name}.jpg', 'questions': [], 'answers': [],
                'title': item.extra['title'], 'authorName': item.extra['author'], 'genre': item.extra['genre'],
                'split': 1 if split == 'train' else 3})
            record['questions'].append(item.question)
            record['answers'].append(item.answer)
    assert all(len(book['questions']) <= len(BOOK_FIELDS) for book in books.values())
    return books


def refs(items: Sequence[tuple[str, Item]]) -> list[dict[str, Any]]:
    """refs(*.p) before pickling: (split, item) pairs; one referred object each, the second sentence on every third."""
    found, sentence = [], 0
    for number, (split, item) in enumerate(items):
        texts = [item.question, *([f'the {item.question}'] if number % 3 == 0 else [])]
        ids = list(range(sentence, sentence + len(texts)))
        sentence += len(texts)
        found.append({
            'sent_ids': ids, 'file_name': item.extra['file'].replace('.jpg', f'_{number}.jpg'), 'ann_id': 1000 + number,
            'ref_id': number, 'image_id': item.extra['image_id'], 'split': split, 'category_id': 1,
            'sentences': [{'tokens': text.split(), 'raw': text, 'sent_id': name, 'sent': text}
                          for name, text in zip(ids, texts, strict=True)]})
    return found


def instances(items: Sequence[tuple[str, Item]]) -> dict[str, Any]:
    """instances.json, as COCO writes it."""
    boxes = [item.extra['box'] for _, item in items]
    return {
        'info': {'year': 2014}, 'licenses': [], 'categories': [{'supercategory': 'thing', 'id': 1, 'name': 'shape'}],
        'images': [{'license': 1, 'file_name': item.extra['file'], 'height': item.extra['size'][1],
                    'width': item.extra['size'][0], 'id': item.extra['image_id']} for _, item in items],
        'annotations': [{
            'id': 1000 + number, 'image_id': item.extra['image_id'], 'category_id': 1, 'iscrowd': 0, 'bbox': [x, y, w, h],
            'area': w * h, 'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]]}
            for number, ((_, item), (x, y, w, h)) in enumerate(zip(items, boxes, strict=True))]}
