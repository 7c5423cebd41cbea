"""From official files to a score: rows of every source load, and their gold answers score 100 under the task's scorer."""

from __future__ import annotations

import json

import pytest

from coinkit.config.benchmarks import load_benchmark
from coinkit.config.instructions import instruction_of
from coinkit.datasets.convert import convert, find, source_named
from coinkit.datasets.convert.rows import most_frequent
from coinkit.datasets.instructions import InstructionJson
from coinkit.registry import METRICS
from coinkit.testing.layouts import make_coin, make_official
from coinkit.testing.layouts.official import MAKERS
from coinkit.types import Prediction


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    return make_official(tmp_path_factory.mktemp('official'), 6, test_rows=6).root


@pytest.mark.parametrize('name', MAKERS)
@pytest.mark.parametrize('ending', ['json', 'jsonl'])
def test_gold_answers_of_converted_rows_score_100(official, tmp_path, name, ending):
    source = source_named(name)
    for split in ('train', 'test'):
        found = find(source, official, split)
        convert(source, found, split, tmp_path / f'{split}.{ending}', instruction_of(source.task, style='diverse'))
        where = dict(path=f'{split}.{ending}', root=str(tmp_path), image_root=str(found.image_root))
        assert InstructionJson.preflight(**where) == []
    metric = next(task.metric for task in load_benchmark('coin').benchmark.tasks if task.name == source.task)
    rows = InstructionJson(**where)
    gold = [Prediction(row.id, most_frequent(row.references), row.references, row.meta) for row in rows]
    score = METRICS.build(dict(metric)).score(gold)
    assert score.value == 100 and score.counts['items'] == len(rows)
    wrong = METRICS.build(dict(metric)).score([Prediction(one.id, 'zebra', one.references, one.context) for one in gold])
    assert wrong.value == 0


def test_an_annotator_who_said_nothing_does_not_spoil_a_row(tmp_path):
    row = {'question_id': 1, 'text': 'q', 'answers': ['a'] * 9 + ['']}
    (tmp_path / 'test.jsonl').write_text(json.dumps(row))
    assert InstructionJson('test.jsonl', root=str(tmp_path))[0].references == (*['a'] * 9, '')


@pytest.mark.parametrize('name', [name for name in MAKERS if name not in ('grounding', 'imagenet')])
def test_converted_rows_are_those_of_coin_where_the_layouts_agree(official, tmp_path, name):
    """ImageNet names its rows otherwise, and grounding repeats its objects in three files."""
    source = source_named(name)
    coin = make_coin(tmp_path / 'coin', 6, test_rows=6)
    for split in ('train', 'test'):
        file = tmp_path / f'{split}.json'
        convert(source, find(source, official, split), split, file, instruction_of(source.task))
        made, published = ({row.get('question_id', row.get('id')): row for row in rows}
                           for rows in (json.loads(file.read_text()), coin.rows[f'{source.task}/{split}']))
        assert made.keys() == published.keys()
        for key, row in made.items():
            assert row.get('image') == published[key].get('image')
            assert row.get('text') == published[key].get('text')
            assert row.get('conversations') == published[key].get('conversations')
