"""`coinkit judge --extract`: which answers are asked about, what becomes of the scores, and what stays as it is."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coinkit.cli import judge as verb
from coinkit.errors import ConfigError
from coinkit.judges.base import Answer
from coinkit.judges.cache import AnswerCache
from coinkit.judges.cells import RunCells
from coinkit.judges.extraction import extracted_cell, extraction_prompt, questions, write_extracted
from coinkit.judges.openai_compatible import OpenAICompatible
from coinkit.metrics.run import score_files
from coinkit.registry import METRICS
from coinkit.types import Prediction, Sample, ScoreMatrix, Task, Turn
from tests.judges.endpoint import Endpoint, Status, serving
from tests.judges.made_run import make_run

FREE = {'question_type': 'free_form', 'answer_type': 'integer'}
CHOICE = {'question_type': 'multi_choice', 'answer_type': 'text', 'answer_option': 'B', 'choices': ['3/11', '8/11']}
ROWS = [Prediction('read', '9', ('9',), FREE), Prediction('wordy', 'They are nine in all.', ('9',), FREE),
        Prediction('wrong', 'They are eight.', ('9',), FREE), Prediction('letter', 'eight elevenths', ('8/11',), CHOICE),
        Prediction('other', 'A', ('8/11',), CHOICE), Prediction('bad', '', ('9',), {**FREE, 'bad_image': 'skip'})]
TASK = Task('Math', {}, {}, {'type': 'mathvista_check'})


@dataclass
class TestSet:
    __test__ = False
    samples: list[Sample] = field(default_factory=lambda: [
        Sample(row.id, 'Math', (), (Turn('human', f'<image>\nQuestion {row.id}?'),), row.references, row.context)
        for row in ROWS])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


@pytest.fixture
def run(tmp_path: Path) -> RunCells:
    folder = tmp_path / 'run'
    path = folder / 'predictions' / '01-math' / 'math.jsonl'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row.to_json()) + '\n' for row in ROWS))
    matrix = ScoreMatrix(('Math',), ((100 / 6,),), (1.5,), {'Math': 'mathvista_check'}, {'Math': 6})
    (folder / 'matrix.json').write_text(json.dumps(matrix.to_json()))
    return RunCells(folder, [TASK], ['00-zero-shot', '01-math'], lambda _: TestSet())


@pytest.fixture
def judge() -> OpenAICompatible:
    return OpenAICompatible('http://localhost:1/v1', 'test/judge')


def answered(path: Path, run: RunCells, judge: OpenAICompatible, said: dict[str, str]) -> AnswerCache:
    """A cache that has these answers, by the id in the question."""
    cache = AnswerCache(path)
    for _, question in questions([(run, run.places()[0])], judge):
        name = question.content.rpartition('Question ')[2].partition('?')[0]
        if name in said:
            cache._answers[question.key] = Answer(said[name])
    return cache


def test_asked_are_the_answers_that_the_scorer_cannot_read(run, judge) -> None:
    asked = [question.content for _, question in questions([(run, run.places()[0])], judge)]
    assert [text.rpartition('Question ')[2].partition('?')[0] for text in asked] == ['wordy', 'wrong', 'letter']
    assert all('<image>' not in text and text.endswith('[Final answer]') for text in asked)


def test_the_prompt_has_five_examples_and_the_answer() -> None:
    prompt = extraction_prompt('<image>\nHow many?', 'Nine.')
    assert prompt.count('[Final answer]\n') == 5
    assert prompt.endswith('[Question]\nHow many?\n[Response]\nNine.\n[Final answer]')


def test_scores_files_and_matrix(run, judge, tmp_path: Path) -> None:
    before = (run.folder / 'predictions/01-math/math.jsonl').read_bytes()
    cache = answered(tmp_path / 'cache', run, judge, {'wordy': ' 9\n', 'wrong': '8', 'letter': '(B)'})
    cell = extracted_cell(run, run.places()[0], judge, cache)
    assert (cell.before, cell.score.value) == (pytest.approx(100 / 6), pytest.approx(50.0))
    assert cell.score.per_sample == (1.0, 1.0, 0.0, 1.0, 0.0, 0.0) and (cell.wanted, cell.unanswered) == (3, 0)
    write_extracted(run, judge, [cell])
    record = json.loads((run.folder / 'extraction.json').read_text())
    assert record['judge']['model'] == 'test/judge' and record['cells'][0]['details']['extracted'] == 3
    assert record['cells'][0]['counts']['skipped'] == 1 and record['cells'][0]['score'] == pytest.approx(50.0)
    matrix = ScoreMatrix.from_json(json.loads((run.folder / 'matrix.extracted.json').read_text()))
    assert matrix.scores == ((pytest.approx(50.0),),) and matrix.zero_shot == (1.5,)
    assert (run.folder / 'predictions/01-math/math.jsonl').read_bytes() == before
    again, _ = score_files(METRICS.build(TASK.metric), run.folder / 'judgements/01-math/math.extracted.jsonl')
    assert again.value == pytest.approx(50.0) and again.details['extracted'] == 3


def test_a_cell_whose_extractions_are_not_all_there_has_no_score(run, judge, tmp_path: Path) -> None:
    cell = extracted_cell(run, run.places()[0], judge, answered(tmp_path / 'cache', run, judge, {'wordy': '9'}))
    assert cell.score is None and (cell.wanted, cell.unanswered) == (3, 2)
    write_extracted(run, judge, [cell])
    assert json.loads((run.folder / 'matrix.extracted.json').read_text())['scores'] == [[None]]


# --- the command --------------------------------------------------------------------------------------------------


def command(run_dir: Path, *words: str, endpoint: Endpoint | None = None) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    url = 'http://localhost:1/v1' if endpoint is None else endpoint.url
    options = ['--cfg-options', f'base_url={url}', 'model=test/judge', 'longest_wait_s=0.02', 'tries=2']
    return verb.main(parser.parse_args([str(run_dir), '--extract', *words, *options]))


@pytest.fixture
def wordy_run(tmp_path: Path, monkeypatch) -> Path:
    """The made run, whose scorer wants every answer with more than one word to be extracted."""
    from coinkit.metrics.vqa import GQA

    def judge_of(self, item):
        text = item.context.get('extraction', item.prediction)
        return plain(self, Prediction(item.id, text, item.references, item.context))

    plain = GQA.judge
    monkeypatch.setattr(GQA, 'judge', judge_of)
    monkeypatch.setattr(GQA, 'needs_extraction', lambda self, item: ' ' in item.prediction, raising=False)
    return make_run(tmp_path / 'run')


def say(prompt: str, attempt: int) -> object:
    answer = prompt.rpartition('[Response]\n')[2].partition('\n[Final answer]')[0]
    return answer.removeprefix('It is ').removesuffix(' here')


def test_the_command_asks_once_and_writes_the_matrix(wordy_run: Path, capsys) -> None:
    with serving(say) as endpoint:
        assert command(wordy_run, '--dry-run', endpoint=endpoint) == 0 and not endpoint.requests
        assert '[Final answer]' in capsys.readouterr().out
        assert command(wordy_run, endpoint=endpoint) == 0
        asked = sum(endpoint.requests.values())
        assert asked > 0 and command(wordy_run, endpoint=endpoint) == 0 and sum(endpoint.requests.values()) == asked
    old, new = (json.loads((wordy_run / f'matrix{more}.json').read_text())['scores'] for more in ('', '.extracted'))
    assert old[1][0] == pytest.approx(100 / 3) and new[1][0] == pytest.approx(200 / 3) and new[1][1] == old[1][1]
    assert 'matrix.extracted.json' in capsys.readouterr().out
    assert not (wordy_run / 'matrix.judge.json').exists()


def test_an_endpoint_that_refuses_some_leaves_a_gap_and_status_1(wordy_run: Path, capsys) -> None:
    with serving(lambda prompt, attempt: Status(500) if 'nothing at all' in prompt else say(prompt, attempt)) as endpoint:
        assert command(wordy_run, '--stage', '2', endpoint=endpoint) == 1
    assert 'have no answer' in capsys.readouterr().err
    assert json.loads((wordy_run / 'matrix.extracted.json').read_text())['scores'][1][0] is None


def test_a_run_without_such_a_scorer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='mathvista_check does'):
        command(make_run(tmp_path / 'run'))
    with pytest.raises(ConfigError, match='no judge to ask'):
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        verb.main(parser.parse_args([str(tmp_path / 'run'), '--extract', '--judge', 'none']))
