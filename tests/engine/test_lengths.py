"""A question that the model cannot read stops the run before its first step, whichever test set it stands in."""

from __future__ import annotations

import json

import pytest

from coinkit.engine import lengths
from coinkit.errors import DataError
from coinkit.testing import small_runs
from coinkit.testing.small_runs import events


def test_a_too_long_question_of_a_later_task_is_found_before_the_first_step(mini_engine, tmp_path, monkeypatch) -> None:
    rows = [{'question_id': f'q{number}', 'text': 'Which bird is this? ' * (60 if number == 7 else 1), 'answer': 'Tit'}
            for number in range(40)]
    (tmp_path / 'test.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    test = f"benchmark.tasks.3.test={{'type': 'InstructionJson', 'path': '{tmp_path}/test.jsonl'}}"
    long = small_runs.config('finetune', test, 'evaluation.limit=None', 'evaluation.zero_shot=False')
    with pytest.raises(DataError, match=r'GQA: test set: record q7: the prompt has \d+ tokens; the model reads at most 512'):
        mini_engine.train(long, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()  # a start refused before its first step leaves nothing
    monkeypatch.setattr(lengths, 'LOOKED_AT', 0)  # what hides from the look is told when its cell is measured
    with pytest.raises(DataError, match='q7'):
        mini_engine.train(long, tmp_path / 'run')
    assert events(tmp_path / 'run', 'stage_started')
