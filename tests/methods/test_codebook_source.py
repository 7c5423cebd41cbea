"""A codebook that `init_from` brings along is whole, and was made as this run would make its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coinkit.engine import preflight
from coinkit.engine.ledger import Ledger
from coinkit.engine.run_dir import RunDir
from coinkit.errors import ConfigError
from coinkit.testing.small_runs import config, write_config

GROUP = {'templates': ['answer with a single word.'], 'tasks': ['TextVQA'], 'stage': '01-textvqa'}
DECISION = {'task': 'TextVQA', 'group': 0, 'joins': False, 'averaged': False, 'start': '', 'similarities': []}
WHOLE = {'benchmark': 'mini', 'style': 'original', 'threshold': 0.9, 'schema': 'coinkit.codebook/1', 'groups': [GROUP],
         'decisions': [DECISION]}


def source(folder: Path, text: str) -> Path:
    """A run of one task with this codebook."""
    file = folder / 'methods' / 'InstructionGroups' / 'codebook.json'
    file.parent.mkdir(parents=True)
    file.write_text(text)
    Ledger(folder / 'ledger.jsonl').append('stage_done', stage='01-textvqa', adapter_sha256='0')
    (folder / 'stages' / '01-textvqa' / 'adapter').mkdir(parents=True)
    return file


def check(tmp_path: Path, method: dict | None = None, run: RunDir | None = None) -> None:
    file = write_config(tmp_path / 'run.py', [method or {'type': 'CIA'}])
    preflight.check(config(str(file), f'init_from={tmp_path / "old"}'), run)


def test_a_codebook_that_was_made_alike_is_taken(tmp_path: Path) -> None:
    source(tmp_path / 'old', json.dumps(WHOLE))
    check(tmp_path)
    check(tmp_path, {'type': 'CIA', 'threshold': 0.9})


def without(*keys: str) -> dict:
    return {key: value for key, value in WHOLE.items() if key not in keys}


@pytest.mark.parametrize(('text', 'message'), [
    (json.dumps(WHOLE)[:40], 'not JSON'),
    ('[]', "schema 'list' is not 'coinkit.codebook/1'"),
    (json.dumps({**WHOLE, 'schema': 'coinkit.codebook/9'}), "schema 'coinkit.codebook/9' is not"),
    (json.dumps(without('groups')), "a codebook without 'groups'"),
    (json.dumps(without('decisions', 'style')), "a codebook without 'decisions'"),
    (json.dumps(without('threshold')), "a codebook without 'threshold'"),
    (json.dumps({**WHOLE, 'groups': [{'tasks': []}]}), 'a group or decision in it is not whole'),
    (json.dumps({**WHOLE, 'decisions': [{'task': 'GQA'}]}), 'a group or decision in it is not whole')])
def test_a_damaged_codebook_is_told_with_its_file_and_a_cure(tmp_path: Path, text: str, message: str) -> None:
    file = source(tmp_path / 'old', text)
    with pytest.raises(ConfigError) as refused:
        check(tmp_path)
    (problem,) = refused.value.problems
    assert str(problem).startswith(f'init_from: {file}: ') and message in str(problem)
    assert 'The file is damaged: put it back, start from another run, or start from the adapter alone' in str(problem)


@pytest.mark.parametrize(('method', 'messages'), [
    ({'type': 'CIA', 'style': 'diverse'}, ["style='original', and the run has 'diverse'", 'Give CIA the same style',
                                           'threshold=0.9, and the run has 0.3']),
    ({'type': 'InstructionGroups', 'threshold': 0.5}, ['threshold=0.9, and the run has 0.5',
                                                       'Give InstructionGroups the same threshold, or start from the'])])
def test_a_codebook_of_another_style_or_threshold_is_refused(tmp_path: Path, method: dict, messages: list[str]) -> None:
    source(tmp_path / 'old', json.dumps(WHOLE))
    with pytest.raises(ConfigError) as refused:
        check(tmp_path, method)
    assert all(message in str(refused.value) for message in messages)


def test_a_run_that_has_begun_has_its_own_copy(tmp_path: Path) -> None:
    source(tmp_path / 'old', '{')
    new = RunDir(tmp_path / 'new')
    new.path.mkdir()
    Ledger(new.ledger).append('stage_done', stage='00-zero-shot', adapter_sha256='0')
    check(tmp_path, run=new)
