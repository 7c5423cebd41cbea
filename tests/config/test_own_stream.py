"""A stream of one's own, word for word from docs/benchmarks.md: its rows are read and its run is planned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from coinkit.config import load_config
from coinkit.engine.plan import show_plan

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'benchmarks.md').read_text(encoding='utf-8')
RUN = re.search(r'```python\n(.*?)```', PAGE, re.DOTALL)[1]
# in the place of 7B weights
TINY = ['backbone.checkpoint=mini', 'backbone.vision_tower=None', 'backbone.dtype=float32', 'backbone.max_length=512']


def row_of_the_page(start: str) -> dict:
    return json.JSONDecoder().raw_decode(PAGE, PAGE.index(start))[0]


@pytest.mark.parametrize('how', [dict(mini=True), dict(options=TINY)], ids=['mini', 'full'])
def test_the_example_of_the_page_can_be_planned(tmp_path, write, monkeypatch, capsys, how) -> None:
    rows = {'train': row_of_the_page('{"id": "b1"'), 'test': row_of_the_page('{"question_id": "t1"')}
    for name in ('birds', 'signs'):
        (tmp_path / 'data/mine' / name / 'pictures').mkdir(parents=True)
        for number, (split, row) in enumerate(rows.items()):
            Image.new('RGB', (40, 30), (90, 60 * number, 20)).save(tmp_path / 'data/mine' / name / row['image'])
            (tmp_path / 'data/mine' / name / f'{split}.jsonl').write_text(json.dumps(row) + '\n')
    monkeypatch.chdir(tmp_path)
    config = load_config(write('run.py', RUN), **how)
    assert [(task.name, task.train['type']) for task in config.benchmark.tasks] == [('birds', 'Folder'), ('signs', 'Folder')]
    assert (config.methods[0]['num_experts'], config.methods[0]['rank']) == (6, 18)
    status = show_plan(config, tmp_path / 'run')
    said = capsys.readouterr().out
    assert status == 0 and 'Ready' in said, said
