"""The official annotation files of CoIN's sources as miniature, with their pictures: what a user has who lacks CoIN's JSON.

Each `make_SOURCE(root)` fills root/cl_dataset as the archives unpack; `make_official` writes them all.
"""

from __future__ import annotations

from pathlib import Path

from coinkit.testing.layouts import official_records as records
from coinkit.testing.layouts.coin_items import IMAGES, SYNSETS, Item, items
from coinkit.testing.layouts.python2 import pickled
from coinkit.testing.layouts.written import Written

REFER = {  # folder -> refs file and the splits of its test objects
    'refcoco': ('unc', ('testA', 'testB')), 'refcoco+': ('unc', ('testA', 'testB')), 'refcocog': ('umd', ('test',))}


def make_official(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """All sources below one root."""
    whole = Written(Path(root))
    for make in MAKERS.values():
        part = make(root, rows, test_rows=test_rows)
        whole.files.update(part.files)
        whole.images += part.images
    return whole


def make_scienceqa(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """problems.json, pid_splits.json, images/SPLIT/PID/image.png."""
    written, splits = _begun(root, 'ScienceQA', rows, test_rows)
    written.put_json('ScienceQA/problems', f'{IMAGES}/ScienceQA/problems.json', records.scienceqa_problems(splits))
    written.put_json('ScienceQA/pid_splits', f'{IMAGES}/ScienceQA/pid_splits.json', records.scienceqa_splits(splits))
    return written


def make_textvqa(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """TextVQA_0.5.1_{train,val}.json, train_images/."""
    written, splits = _begun(root, 'TextVQA', rows, test_rows)
    for split, subset in (('train', 'train'), ('test', 'val')):
        name = f'TextVQA_0.5.1_{subset}'
        written.put_json(f'TextVQA/{name}', f'{IMAGES}/TextVQA/{name}.json', records.textvqa(splits[split], subset))
    return written


def make_imagenet(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """Class folders under train/ and test/, LOC_synset_mapping.txt."""
    written, _ = _begun(root, 'ImageNet', rows, test_rows)
    file = written.path(f'{IMAGES}/ImageNet_withlabel/LOC_synset_mapping.txt')
    file.write_text(''.join(f'{folder} {names}\n' for folder, names in SYNSETS.items()), 'utf-8')
    written.files['ImageNet/names'] = file
    return written


def make_gqa(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """{train,testdev}_balanced_questions.json, images/."""
    written, splits = _begun(root, 'GQA', rows, test_rows)
    for split, subset in (('train', 'train'), ('test', 'testdev')):
        name = f'{subset}_balanced_questions'
        written.put_json(f'GQA/{name}', f'{IMAGES}/GQA/{name}.json', records.gqa(splits[split]))
    return written


def make_vizwiz(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """Annotations/{train,val}.json, train/, val/."""
    written, splits = _begun(root, 'VizWiz', rows, test_rows)
    for split, subset in (('train', 'train'), ('test', 'val')):
        written.put_json(f'VizWiz/{subset}', f'{IMAGES}/VizWiz/Annotations/{subset}.json', records.vizwiz(splits[split]))
    return written


def make_vqav2(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """Questions and annotations of train2014 and val2014, COCO2014/."""
    written, splits = _begun(root, 'VQAv2', rows, test_rows)
    for split, subset in (('train', 'train2014'), ('test', 'val2014')):
        name = f'v2_OpenEnded_mscoco_{subset}_questions'
        written.put_json(f'VQAv2/{name}', f'{IMAGES}/VQAv2/{name}.json', records.vqav2_questions(splits[split], subset))
        name = f'v2_mscoco_{subset}_annotations'
        written.put_json(f'VQAv2/{name}', f'{IMAGES}/VQAv2/{name}.json', records.vqav2_annotations(splits[split], subset))
    return written


def make_ocrvqa(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """dataset.json, images/."""
    written, splits = _begun(root, 'OCR-VQA', rows, test_rows)
    written.put_json('OCR-VQA/dataset', f'{IMAGES}/OCR-VQA/dataset.json', records.ocrvqa(splits))
    return written


def make_refcoco(root: str | Path, rows: int = 24, *, test_rows: int | None = None) -> Written:
    """refcoco/, refcoco+/ and refcocog/ with refs(*.p) and instances.json, COCO2014/train2014/; the same objects in all."""
    written, splits = _begun(root, 'Grounding', rows, test_rows)
    for folder, (refs, tests) in REFER.items():
        pairs: list[tuple[str, Item]] = [('train', item) for item in splits['train']]
        pairs += [(tests[number % len(tests)], item) for number, item in enumerate(splits['test'])]
        file = written.path(f'{IMAGES}/{folder}/refs({refs}).p')
        file.write_bytes(pickled(records.refs(pairs)))
        written.files[f'{folder}/refs'] = file
        written.put_json(f'{folder}/instances', f'{IMAGES}/{folder}/instances.json', records.instances(pairs))
    return written


def _begun(root: str | Path, task: str, rows: int, test_rows: int | None) -> tuple[Written, dict[str, list[Item]]]:
    """A task's pictures on disk, and its items by split."""
    written = Written(Path(root))
    counts = {'train': rows, 'test': (rows + 1) // 2 if test_rows is None else test_rows}
    splits = {split: items(task, split, count) for split, count in counts.items()}
    for item in (item for found in splits.values() for item in found):
        written.put_image(f'{IMAGES}/{item.image}', item.picture)
    return written, splits


MAKERS = {'scienceqa': make_scienceqa, 'textvqa': make_textvqa, 'imagenet': make_imagenet, 'gqa': make_gqa,
          'vizwiz': make_vizwiz, 'grounding': make_refcoco, 'vqav2': make_vqav2, 'ocrvqa': make_ocrvqa}
