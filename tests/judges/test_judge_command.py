"""`coinkit judge` on a run made without a model: asking, resuming, choosing cells, cost, results, and what it refuses."""

from __future__ import annotations

import argparse
import json
import os
import shutil

import pytest

from coinkit.cli import judge as verb
from coinkit.cli.judge_choice import build_judge
from coinkit.errors import ConfigError, DataError, RunError
from coinkit.judges.local_transformers import LocalTransformers
from coinkit.judges.openai_compatible import OpenAICompatible
from tests.judges.endpoint import Endpoint, Status, serving
from tests.judges.made_run import make_run

KEY = 'sk-command-line-secret-42'
WORDY, WRONG = 'It is', 'nothing at all'


def rate(prompt: str, attempt: int) -> str:
    """A judge that likes wordy answers (9), knows wrong ones (1) and right ones (10), and mumbles about one box."""
    answer = prompt.partition('[Assistant]\n')[2].partition('\n[End of Assistant]')[0]
    return '1' if answer == WRONG else '9' if answer.startswith(WORDY) else '10'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('made') / 'run')


@pytest.fixture
def run_dir(made, tmp_path, monkeypatch):
    monkeypatch.setenv('TEST_JUDGE_KEY', KEY)
    shutil.copytree(made, tmp_path / 'run')
    return tmp_path / 'run'


@pytest.fixture
def report():
    """Asked for by tests that look at tables and pages; drawing takes a second, and the others do without."""


@pytest.fixture(autouse=True)
def quiet(request, monkeypatch):
    if 'report' not in request.fixturenames:
        monkeypatch.setattr(verb, '_report', lambda folder, runs: None)


def judge(run_dir, *words: str, endpoint: Endpoint | None = None, **options: object) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    given = {} if endpoint is None else {'base_url': endpoint.url, 'model': 'test/judge', 'api_key_env': 'TEST_JUDGE_KEY',
                                         'longest_wait_s': 0.02, 'tries': 3}
    options = {**given, **options}
    more = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())] if options else []
    return verb.main(parser.parse_args([str(run_dir), *words, *more]))


def read(path):
    return json.loads(path.read_text())


def test_a_second_matrix_and_the_split_of_failures(run_dir, capsys, report):
    with serving(rate) as endpoint:
        assert judge(run_dir, endpoint=endpoint) == 0
    matrix = read(run_dir / 'matrix.judge.json')
    # after task 1: six right answers; later each kind of answer twice: 1 + 9 + 10 of 30
    assert matrix['scores'] == [[100.0, None], [pytest.approx(100 * 20 / 30), 100.0]] and matrix['zero_shot'] is None
    assert matrix['metrics'] == dict.fromkeys(('GQA', 'Grounding'), 'judge_parse_coin')
    assert matrix['counts'] == {'GQA': 6, 'Grounding': 6} and matrix['schema'] == 'coinkit.matrix/1'
    blob = read(run_dir / 'judge.json')
    assert blob['judge']['model'] == 'test/judge' and blob['threshold'] == 8.0
    assert blob['cells'][1] == {
        'stage': '02-grounding', 'row': 2, 'task': 'GQA', 'scorer': 'judge_parse_coin', 'score': pytest.approx(200 / 3),
        'switches': {'judge_parse': 'strict', 'judge_decoding': 'greedy', 'denominator': 'default'},
        'counts': {'items': 6, 'missing': 0, 'unparsed': 0, 'unjudged': 0}}
    failures = read(run_dir / 'failures.json')
    cell = failures['cells'][1]
    assert (cell['wrong'], cell['format'], cell['knowledge'], cell['unjudged']) == (4, 2, 2, 0) and failures['by'] == 'judge'
    assert failures['drops'] == [{
        'stage': '02-grounding', 'row': 2, 'task': 'GQA', 'since': '01-gqa', 'from': 100.0, 'to': pytest.approx(100 / 3),
        'drop': pytest.approx(200 / 3), 'points': {'format': pytest.approx(100 / 3), 'knowledge': pytest.approx(100 / 3),
                                                   'unjudged': 0.0},
        'shares': {'format': pytest.approx(.5), 'knowledge': pytest.approx(.5), 'unjudged': 0.0}}]
    lines = [json.loads(line) for line in (run_dir / 'judgements/02-grounding/gqa.jsonl').read_text().splitlines()]
    assert [(line['answer'], line['score'], line['truth'], line['failure']) for line in lines[:3]] == [
        ('1', 1.0, 0.0, 'knowledge'), ('9', 9.0, 0.0, 'format'), ('10', 10.0, 1.0, None)]
    shown = capsys.readouterr().out
    assert 'reasoning capability' in shown and 'why answers were wrong' in shown and 'test/judge' in shown
    page = (run_dir / 'report.html').read_text()
    assert 'Reasoning capability after each stage' in page and 'Why answers were wrong' in page
    figures = {path.name for path in (run_dir / 'figures').iterdir()}
    assert {'judge.png', 'judge.svg', 'failures.png', 'failures.svg'} <= figures


def test_run_again_it_asks_nothing_and_writes_the_same(run_dir):
    with serving(rate) as endpoint:
        judge(run_dir, endpoint=endpoint)
        first = {path: path.read_bytes() for path in run_dir.rglob('*.json*')}
        asked = sum(endpoint.requests.values())
        assert set(endpoint.answered.values()) == {1} and asked == len(endpoint.answered)
        judge(run_dir, endpoint=endpoint, parse='upstream')
        assert sum(endpoint.requests.values()) == asked
        assert read(run_dir / 'judge.json')['cells'][1]['score'] == 67.0  # rounded, as published
        judge(run_dir, endpoint=endpoint)
    assert {path: path.read_bytes() for path in run_dir.rglob('*.json*')} == first


def test_another_judge_has_answers_of_its_own(run_dir):
    with serving(rate) as endpoint:
        judge(run_dir, endpoint=endpoint)
        first = read(run_dir / 'matrix.judge.json')
        endpoint.behave = lambda prompt, attempt: '0'
        judge(run_dir, endpoint=endpoint, model='other')
        assert read(run_dir / 'matrix.judge.json')['scores'] == [[0.0, None], [0.0, 0.0]]
        judge(run_dir, endpoint=endpoint)  # back to the first: from the cache
        assert read(run_dir / 'matrix.judge.json') == first
    assert set(endpoint.requests.values()) == {2}


def test_tasks_and_stages_are_asked_one_by_one(run_dir):
    with serving(rate) as endpoint:
        judge(run_dir, '--stage', '1', endpoint=endpoint)
        assert read(run_dir / 'matrix.judge.json')['scores'] == [[100.0, None], [None, None]]
        assert read(run_dir / 'judge.json')['cells'][2]['counts']['unjudged'] == 6
        judge(run_dir, '--stage', '02-grounding', '--tasks', 'gqa', endpoint=endpoint)
        assert read(run_dir / 'matrix.judge.json')['scores'][1] == [pytest.approx(200 / 3), None]
        judge(run_dir, endpoint=endpoint)
    assert read(run_dir / 'matrix.judge.json')['scores'][1] == [pytest.approx(200 / 3), 100.0]
    assert set(endpoint.requests.values()) == {1}


@pytest.mark.parametrize('word, message', [('--tasks=GAQ', "'GAQ'.*Did you mean 'GQA'"), ('--stage=7', "stage '7'"),
                                           ('--stage=-1', "stage '-1'")])
def test_unknown_tasks_and_stages(run_dir, word, message):
    with pytest.raises(ConfigError, match=message):
        judge(run_dir, word, base_url='http://localhost/v1', model='m')


def test_cells_that_were_not_measured(run_dir):
    with pytest.raises(RunError, match='no predictions'):
        judge(run_dir, '--stage', 'zero', base_url='http://localhost/v1', model='m')


def test_dry_run_tells_the_cost_and_asks_nothing(run_dir, capsys, monkeypatch):
    monkeypatch.delenv('TEST_JUDGE_KEY')
    before = sorted(run_dir.rglob('*'))
    assert judge(run_dir, '--dry-run', base_url='http://127.0.0.1:1/v1', model='m', api_key_env='TEST_JUDGE_KEY',
                 price_in=1000, price_out=2000, requests_per_minute=60) == 0
    shown = capsys.readouterr().out
    # 18 answers; two of GQA's after stage 2 are what they were after stage 1
    assert '│ in all    │     3 │        18 │     2 │     16 │' in shown and 'the rate limits alone take 16 s' in shown
    tokens = int(shown.split('│ in all')[1].split('│')[5].replace(',', ''))
    assert f'about {tokens / 1000 + 16 * 20 * .002:.2f} USD' in shown and '[End of Assistant]' in shown
    assert sorted(run_dir.rglob('*')) == before


def test_a_limit_on_the_cost(run_dir):
    with serving(rate) as endpoint:
        with pytest.raises(ConfigError, match='USD expected, 0.01 allowed'):
            judge(run_dir, '--max-cost', '0.01', endpoint=endpoint, price_in=1000)
        with pytest.raises(ConfigError, match='price_in'):
            judge(run_dir, '--max-cost', '0.01', endpoint=endpoint)
        assert not endpoint.requests
        assert judge(run_dir, '--max-cost', '100', endpoint=endpoint, price_in=1000) == 0
        assert judge(run_dir, '--max-cost', '0', endpoint=endpoint) == 0  # nothing left to ask


def test_questions_without_an_answer_leave_a_gap_and_status_1(run_dir, capsys):
    with serving(lambda prompt, attempt: Status(500) if WRONG in prompt else rate(prompt, attempt)) as endpoint:
        assert judge(run_dir, endpoint=endpoint) == 1
        assert read(run_dir / 'matrix.judge.json')['scores'] == [[100.0, None], [None, 100.0]]
        cell = read(run_dir / 'failures.json')['cells'][1]
        assert (cell['format'], cell['knowledge'], cell['unjudged']) == (2, 0, 2)
        assert 'no answer' in capsys.readouterr().err
        endpoint.behave = rate
        assert judge(run_dir, endpoint=endpoint) == 0
    assert read(run_dir / 'matrix.judge.json')['scores'][1] == [pytest.approx(200 / 3), 100.0]
    assert set(endpoint.answered.values()) == {1}


def test_an_endpoint_that_gives_up_leaves_what_is_there(run_dir):
    with serving(lambda prompt, attempt: Status(401) if WRONG in prompt else rate(prompt, attempt)) as endpoint:
        with pytest.raises(RunError, match='HTTP 401'):
            judge(run_dir, endpoint=endpoint, concurrency=1)
    assert read(run_dir / 'matrix.judge.json')['scores'] == [[100.0, None], [None, None]]


def test_nonsense_is_counted_as_unparsed(run_dir):
    with serving(lambda prompt, attempt: 'hm' if WRONG in prompt else rate(prompt, attempt)) as endpoint:
        assert judge(run_dir, endpoint=endpoint) == 0
        assert judge(run_dir, endpoint=endpoint) == 0
    cell = read(run_dir / 'judge.json')['cells'][1]
    assert cell['counts']['unparsed'] == 2 and cell['score'] == pytest.approx(100 * 19 * 2 / 60)
    assert read(run_dir / 'failures.json')['cells'][1]['unjudged'] == 2
    assert set(endpoint.requests.values()) == {1}


def test_grounding_is_asked_with_the_whole_text_and_the_box(run_dir):
    with serving(rate) as endpoint:
        judge(run_dir, '--tasks', 'Grounding', endpoint=endpoint)
    assert endpoint.requests and all('bounding box' in prompt.partition('[Ground Truth]')[0] and 'x1, y1, x2, y2' in prompt
                                     for prompt in endpoint.requests)


def test_an_ordinary_question_has_lost_its_format_line(run_dir):
    with serving(rate) as endpoint:
        judge(run_dir, '--tasks', 'GQA', endpoint=endpoint)
    assert endpoint.requests and not any('single word' in prompt for prompt in endpoint.requests)


def test_without_a_judge_the_lenient_form_splits(run_dir, capsys, report):
    assert judge(run_dir, '--judge', 'none') == 0
    failures = read(run_dir / 'failures.json')
    cell = failures['cells'][1]
    assert failures['by'] == 'lenient' and (cell['format'], cell['knowledge'], cell['unjudged']) == (2, 2, 0)
    assert not (run_dir / 'matrix.judge.json').exists() and 'lenient form' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='no judge'):
        judge(run_dir, '--judge', 'none', model='m')


def test_missing_rows_count_zero_and_are_not_asked_about(run_dir):
    path = run_dir / 'predictions/01-gqa/gqa.jsonl'
    path.write_text(''.join(path.read_text().splitlines(keepends=True)[:-2]))
    with serving(rate) as endpoint:
        judge(run_dir, '--stage', '1', endpoint=endpoint)
        cell = read(run_dir / 'judge.json')['cells'][0]
        assert cell['counts'] == {'items': 6, 'missing': 2, 'unparsed': 0, 'unjudged': 0}
        assert cell['score'] == pytest.approx(100 * 4 / 6) and read(run_dir / 'failures.json')['cells'][0]['unjudged'] == 2
        judge(run_dir, '--stage', '1', endpoint=endpoint, parse='upstream')
    assert read(run_dir / 'judge.json')['cells'][0]['score'] == 100.0


def test_samples_that_were_skipped_for_their_picture_count_zero_and_are_not_asked_about(run_dir):
    path = run_dir / 'predictions/01-gqa/gqa.jsonl'
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {'prediction': '', 'context': {**rows[0]['context'], 'bad_image': 'skip'}}
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    with serving(rate) as endpoint:
        for parse in ('strict', 'upstream'):
            judge(run_dir, '--stage', '1', endpoint=endpoint, parse=parse)
            cell = read(run_dir / 'judge.json')['cells'][0]
            assert cell['counts'] == {'items': 6, 'missing': 0, 'unparsed': 0, 'unjudged': 0, 'skipped': 1}
            assert cell['score'] == (pytest.approx(100 * 5 / 6) if parse == 'strict' else 83.0)
        assert len(endpoint.answered) == 5 and read(run_dir / 'failures.json')['cells'][0]['unjudged'] == 1


@pytest.mark.parametrize('change, error, message', [
    (lambda text: text + text.splitlines(keepends=True)[0], DataError, 'line 7: the id .* is there twice'),
    (lambda text: text + '{"id": "stranger", "prediction": "x"}\n', DataError, "not in the test set of GQA, .*'stranger'"),
    (lambda text: text + '{"id": \n', DataError, 'line 7: not a prediction'),
    (lambda text: text.replace('"references": ["', '"references": ["other ', 1), DataError, 'data has changed')])
def test_predictions_that_do_not_fit_are_told_before_anything_is_asked(run_dir, change, error, message):
    path = run_dir / 'predictions/02-grounding/gqa.jsonl'
    path.write_text(change(path.read_text()))
    with serving(rate) as endpoint:
        with pytest.raises(error, match=message):
            judge(run_dir, endpoint=endpoint)
    assert not endpoint.requests


def test_predictions_changed_since_they_were_scored(run_dir):
    (run_dir / 'ledger.jsonl').write_text(json.dumps({
        'event': 'cell_scored', 'stage': '01-gqa', 'task': 'GQA', 'score': 1.0, 'predictions_sha256': 'ab'}) + '\n')
    with serving(rate) as endpoint:
        with pytest.raises(RunError, match='changed since it was scored'):
            judge(run_dir, endpoint=endpoint)


def test_not_a_run(tmp_path):
    with pytest.raises(RunError, match='not a run directory'):
        judge(tmp_path, base_url='http://localhost/v1', model='m')


def test_seeds_share_their_answers(made, tmp_path, monkeypatch, report):
    monkeypatch.setenv('TEST_JUDGE_KEY', KEY)
    for seed in (0, 1):
        shutil.copytree(made, tmp_path / 'runs' / f'seed-{seed}')
    with serving(rate) as endpoint:
        judge(tmp_path / 'runs' / 'seed-0', endpoint=endpoint)
        judge(tmp_path / 'runs', endpoint=endpoint)
    assert set(endpoint.requests.values()) == {1}
    assert read(tmp_path / 'runs/seed-1/matrix.judge.json') == read(tmp_path / 'runs/seed-0/matrix.judge.json')
    assert 'Reasoning capability' in (tmp_path / 'runs' / 'seed-1' / 'report.html').read_text()
    assert (tmp_path / 'runs' / 'judgements' / 'answers.jsonl').is_file()


def test_the_key_is_in_no_file(run_dir, capsys, report):
    with serving(lambda prompt, attempt: Status(500, body=f'oh {KEY}') if attempt == 0 else f'8 {KEY}') as endpoint:
        judge(run_dir, endpoint=endpoint)
    assert endpoint.authorizations[0] == f'Bearer {KEY}'
    files = [path for path in run_dir.rglob('*') if path.is_file()]
    assert KEY not in ''.join(capsys.readouterr()) and run_dir / 'judgements' / 'answers.jsonl' in files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


# --- which judge ------------------------------------------------------------------------------------------------------


def test_a_judge_by_name_by_file_and_by_shipped_name(tmp_path):
    options = ['base_url=http://h/v1', 'judge.model=Qwen/Qwen1.5-32B-Chat', 'extra.seed=3']
    chosen = build_judge('OpenAICompatible', options)
    assert isinstance(chosen, OpenAICompatible) and chosen.model == 'Qwen/Qwen1.5-32B-Chat' and chosen.extra == {'seed': 3}
    path = tmp_path / 'mine.py'
    path.write_text("judge = dict(type='OpenAICompatible', base_url='http://h/v1', model='m')\n")
    assert build_judge(str(path), ['threshold=7']).threshold == 7.0
    shipped = build_judge('qwen1_5_32b_chat', [])
    assert shipped.model == 'Qwen/Qwen1.5-32B-Chat' and shipped.decoding == 'greedy'
    with pytest.raises(ConfigError, match='no config.json') as error:
        build_judge('LocalTransformers', [f'checkpoint={tmp_path}'])
    assert LocalTransformers.__name__ in str(error.value)


@pytest.mark.parametrize('name, options, message', [
    ('OpenAICompatable', [], "Did you mean 'OpenAICompatible'"), ('OpenAICompatible', ['model=m'], 'base_url'),
    ('OpenAICompatible', ['base_url=http://h/v1', 'model=m', 'modle=x'], "'modle'.*'model'"),
    ('OpenAICompatible', ['base_url=http://h/v1', 'model=m', 'tries=many'], 'tries.*many.*whole number'),
    ('OpenAICompatible', ['base_url'], 'key=value')])
def test_wrong_choices(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_judge(name, options)


def test_a_key_on_the_command_line_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as error:
        build_judge('OpenAICompatible', ['base_url=http://h/v1', 'model=m', f'api_key={KEY}'])
    assert 'api_key' in str(error.value) and KEY not in str(error.value)


@pytest.mark.parametrize('text, message', [
    ("jugde = dict()\n", "Did you mean 'judge'"), ("judge = dict(type='Nobody')\n", 'Nobody'), ('x = \n', 'broken Python'),
    ('', 'says no judge')])
def test_wrong_judge_files(tmp_path, text, message):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        build_judge(os.fspath(path), [])
