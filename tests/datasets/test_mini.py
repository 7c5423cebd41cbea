"""The mini tasks: random access, disjoint splits, styles, and answers as their scorers want them."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from coinkit.datasets.mini import Mini
from coinkit.datasets.mini.styles import DIVERSE, ORIGINAL, STYLES, TEN_TYPES
from coinkit.datasets.mini.tasks import NAMES, TASKS
from coinkit.datasets.mini.world import AUTHORS, COLOUR_NAMES, GENRES, SHAPE_NAMES, WORDS
from coinkit.errors import ConfigError
from coinkit.types import Dataset, ImageSource

BOX = re.compile(r'\[\d\.\d\d,\d\.\d\d,\d\.\d\d,\d\.\d\d\]')
FORMATS = {
    'scienceqa': lambda a: a in 'ABC', 'textvqa': lambda a: re.fullmatch(r'[a-z]+|\d+', a),
    'imagenet': lambda a: a in SHAPE_NAMES, 'gqa': lambda a: a in ('yes', 'no', *COLOUR_NAMES),
    'vizwiz': lambda a: a in ('unanswerable', *COLOUR_NAMES), 'grounding': BOX.fullmatch,
    'vqav2': lambda a: a in '01234', 'ocrvqa': lambda a: a in (*WORDS, *AUTHORS, *GENRES)}
every_kind = pytest.mark.parametrize('kind', TASKS)


def test_eight_tasks_named_after_coin():
    names = 'ScienceQA TextVQA ImageNet GQA VizWiz Grounding VQAv2 OCR-VQA'
    assert list(NAMES.values()) == names.split()
    assert list(TASKS) == list(NAMES) == list(FORMATS)


@every_kind
def test_a_training_sample_ends_with_an_answer_and_a_test_sample_with_a_question(kind):
    train, test = Mini(kind)[3], Mini(kind, split='test')[3]
    assert isinstance(Mini(kind), Dataset) and isinstance(train.images[0], ImageSource)
    assert [turn.role for turn in train.turns] == ['human', 'gpt'] and train.references == ()
    assert [turn.role for turn in test.turns] == ['human'] and test.references
    assert train.task == NAMES[kind] and Mini(kind, task='other')[0].task == 'other'
    assert train.images[0].load().size == (64, 64)


@every_kind
def test_answers_have_the_tasks_format_and_vary(kind):
    answers = Counter(sample.turns[1].text for sample in Mini(kind, size=300))
    assert all(FORMATS[kind](answer) for answer in answers)
    assert max(answers.values()) < 0.6 * 300  # a constant answer cannot pass the task


@every_kind
def test_samples_are_the_same_in_any_order_and_from_threads(kind):
    dataset = Mini(kind, size=40)
    forwards = [dataset[i] for i in range(40)]
    backwards = [dataset[i] for i in reversed(range(40))][::-1]
    assert forwards == backwards
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(dataset.__getitem__, range(40)))
    assert [s.images[0].load().tobytes() for s in threaded] == [s.images[0].load().tobytes() for s in forwards]


@every_kind
def test_train_and_test_share_no_sample(kind):
    def keys(**arguments):
        return {sample.images[0].key for sample in Mini(kind, size=50, **arguments)}

    train, test, other = keys(), keys(split='test'), keys(seed=1)
    assert len(train | test | other) == 150
    pictures = {sample.images[0].load().tobytes() for split in ('train', 'test')
                for sample in Mini(kind, split=split, size=50)}
    assert len(pictures) >= 99


def test_ids_are_unique():
    ids = [sample.id for kind in TASKS for split in ('train', 'test') for sample in Mini(kind, split=split, size=20)]
    assert len(set(ids)) == len(ids)


@every_kind
def test_styles_change_the_words_and_nothing_else(kind):
    samples = {style: list(Mini(kind, size=60, style=style)) for style in STYLES}
    for original, diverse, ten in zip(*samples.values(), strict=True):
        assert original.images == diverse.images == ten.images
        assert original.turns[1] == diverse.turns[1] == ten.turns[1]
    lines = {sample.turns[0].text.split('\n')[-1] for sample in samples['10type']}
    assert len(lines) >= 9
    assert len(set(TEN_TYPES[kind])) == 10
    if kind != 'grounding':
        assert all('\n' in sample.turns[0].text for group in samples.values() for sample in group)


def test_original_shares_a_line_between_tasks_and_diverse_does_not():
    assert max(Counter(ORIGINAL.values()).values()) == 5
    assert max(Counter(DIVERSE.values()).values()) == 1


def test_scienceqa_names_the_winner_among_its_options():
    for sample in Mini('scienceqa', split='test', size=40):
        assert sample.references[0] == 'ABC'[sample.meta['gold_index']]
        assert sample.meta['num_choices'] == len(sample.meta['choices']) == 3
        for letter, choice in zip('ABC', sample.meta['choices'], strict=True):
            assert f'{letter}. {choice}' in sample.turns[0].text


def test_gqa_asks_for_what_is_and_what_is_not_there():
    there = [sample.turns[1].text for sample in Mini('gqa', size=600) if 'is there' in sample.turns[0].text]
    assert len(there) > 50
    assert 0.35 < there.count('no') / len(there) < 0.65


def test_grounding_context_and_textvqa_references():
    sample = Mini('grounding', split='test')[0]
    assert sample.meta == {'answer_bbox': sample.references[0], 'size': [64, 64]}
    sample = Mini('textvqa', split='test')[0]
    assert len(sample.references) == 10 and len(set(sample.references)) == 1


@every_kind
def test_context_is_json(kind):
    assert json.loads(json.dumps(dict(Mini(kind, split='test')[0].meta))) == dict(Mini(kind, split='test')[0].meta)


def test_fingerprints_tell_what_differs():
    given = [dict(), dict(split='test'), dict(size=5), dict(seed=1), dict(style='diverse'), dict(task='x')]
    assert len({Mini('gqa', **arguments).fingerprint for arguments in given}) == len(given)
    assert Mini('gqa').fingerprint == Mini('gqa', size=1280).fingerprint


def test_an_index_out_of_range_ends_iteration():
    assert len(list(Mini('gqa', size=7))) == len(Mini('gqa', size=7)) == 7
    with pytest.raises(IndexError, match='7 samples'):
        Mini('gqa', size=7)[7]


def test_wrong_arguments_are_all_told_at_once():
    with pytest.raises(ConfigError, match="Did you mean 'scienceqa'") as caught:
        Mini('sciencqa', split='val', size=0, style='divers', seed='a')
    assert len(caught.value.problems) == 5


def test_drawing_is_fast():
    """At least a thousand a second; the floor is low because the machine may be busy."""
    started = time.process_time()
    for kind in TASKS:
        assert sum(1 for _ in Mini(kind, size=100)) == 100
    assert 800 / (time.process_time() - started) > 1000
