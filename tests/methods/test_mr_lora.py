"""MR-LoRA: letters and the prompt; what is refused before anything is loaded; that eight experts fit the mini context."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coinkit.config import load_config, resolve_stream
from coinkit.engine.datasets import StreamDatasets
from coinkit.errors import ConfigError
from coinkit.methods.mr_lora import MRLoRA
from coinkit.methods.mr_lora.letters import ALPHABET, assign_letters, parse_letter
from coinkit.methods.mr_lora.prompts import PARTS, Expert, RoutingQuestions, prompt_problems, read_prompt, shipped_prompts
from coinkit.testing import small_runs
from coinkit.testing.small_runs import config
from coinkit.types import Query, Sample, Task, Turn

FIVE = 'ABCDE'


# --- letters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('text', 'strict', 'upstream'), [
    ('B', 'B', 'B'), (' b.', 'B', None), ('B. Science', 'B', None), ('CA', 'C', 'A'), ('X', None, None), ('', None, None),
    ('b', 'B', None), ('B.', 'B', 'B'), ('xE', None, 'E'), ('The answer', None, None)])
def test_the_parse_table(text: str, strict: str | None, upstream: str | None) -> None:
    assert parse_letter(text, FIVE, 'strict') == strict
    assert parse_letter(text, FIVE, 'upstream') == upstream


def test_a_letter_of_no_expert_is_no_letter() -> None:
    assert parse_letter('C', 'AB', 'strict') is None and parse_letter('C', 'AB', 'upstream') is None


def stream_of(**letters: str) -> list[Task]:
    """Tasks and their letters in the benchmark."""
    return [Task(name, {}, {}, {}, letter=letter) for name, letter in letters.items()]


def test_letters_follow_the_choice_the_benchmark_and_the_stream() -> None:
    bare = stream_of(x='', y='', z='')
    assert assign_letters(bare, ALPHABET, {}) == {'x': 'A', 'y': 'B', 'z': 'C'}
    assert assign_letters(bare, 'ABC', {'y': 'A'}) == {'x': 'B', 'y': 'A', 'z': 'C'}
    assert assign_letters(stream_of(x='C', y='A', z='B'), ALPHABET, {'y': 'F'}) == {'x': 'C', 'y': 'F', 'z': 'B'}


PUBLISHED = {'domain': {'RS': 'E', 'Med': 'C', 'AD': 'D', 'Sci': 'B', 'Fin': 'A'},
             'ability': {'OCR': 'A', 'Math': 'C', 'VP': 'B', 'APP': 'D'}}


@pytest.mark.parametrize(('part', 'options', 'expected'), [
    ('domain', (), 'ECDBA'), ('domain', ('order=reverse',), 'ABDCE'), ('domain', ('tasks=["Med","Fin"]',), 'CA'),
    ('ability', (), 'ACBD'), ('ability', ('order=["APP","OCR"]',), 'DA')])
def test_the_published_letters_come_with_the_benchmark(tmp_path: Path, part: str, options: tuple, expected: str) -> None:
    """Of a plain MRLoRA, in any order and of any part of the stream."""
    base = load_config(f'mllm_cl/{part}_llava_mr_lora').source
    run = tmp_path / 'run.py'
    run.write_text(f"_base_ = {str(base)!r}\nmethods = [dict(type='MRLoRA')]\n")
    stream, method = resolve_stream(load_config(run, options=options)), MRLoRA()
    assert method.pool.letters_of(stream) == {task.name: PUBLISHED[part][task.name] for task in stream}
    assert ''.join(method.pool.letters_of(stream).values()) == expected
    assert [expert.letter for expert in method.pool.experts(stream, len(stream))] == sorted(expected)


@pytest.mark.parametrize(('given', 'words'), [
    (dict(letters={'Fin': 'D'}), "letters.Fin: 'D' given, which AD has in the benchmark. Give AD another one as well"),
    (dict(alphabet='BCDEF'), "'BCDEF' given, and the benchmark calls Fin 'A'. Leave alphabet out, or give letters={'Fin'"),
    (dict(letters={'Fim': 'F'}), "unknown task 'Fim'. Did you mean 'Fin'")])
def test_letters_that_do_not_go_with_the_benchmarks_are_refused(given: dict[str, Any], words: str) -> None:
    run = load_config('mllm_cl/domain_llava_mr_lora', mini=True)
    datasets = StreamDatasets(resolve_stream(run), run.data)
    (problem,) = MRLoRA.preflight_run(run, datasets, **given)
    assert words in str(problem)
    assert MRLoRA.preflight_run(run, datasets, letters={'Fin': 'D', 'AD': 'A'}) == []


@pytest.mark.parametrize(('given', 'words'), [
    (dict(alphabet='AAB'), 'occurs twice'), (dict(alphabet='Ab'), 'A to Z'), (dict(letters={'x': 'AB'}), 'one of'),
    (dict(alphabet='ABC', letters={'x': 'A', 'y': 'A'}), 'x and y'), (dict(router_samples=0), 'at least 1'),
    (dict(router_lr=0.0), 'above 0'), (dict(router_init='merged'), 'router_start'), (dict(prompt='coyn'), 'allowed'),
    (dict(router_start='/nowhere'), 'router_init'), (dict(rank=0), 'at least 1'),
    (dict(router_steps=5, router_epochs=40), 'router_epochs: 40 given, and router_steps=5 does not read it'),
    (dict(router_parse='upstream', router_fallback='argmax'), "'argmax' given, and router_parse='upstream' does not read")])
def test_bad_arguments_are_told_before_anything_is_loaded(given: dict[str, Any], words: str) -> None:
    assert any(words in str(problem) for problem in MRLoRA.preflight(**given))


def test_arguments_that_say_the_same_are_no_problem() -> None:
    assert MRLoRA.preflight(router_steps=5, router_epochs=None, router_parse='upstream', router_fallback='random') == []
    assert MRLoRA().router_schedule['epochs'] == 40


def test_a_merged_start_must_have_the_routers_rank_and_alpha(tmp_path: Path) -> None:
    """Told before the run; a method is built without it, to answer with what was trained."""
    run = config('mr_lora', tasks=('GQA',))
    datasets = StreamDatasets(resolve_stream(run), run.data)
    merged = dict(router_init='merged', router_start=str(tmp_path), rank=16)
    (absent,) = MRLoRA.preflight_run(run, datasets, **merged)
    assert 'is no PEFT folder' in str(absent)
    (tmp_path / 'adapter_config.json').write_text(json.dumps({'r': 16, 'lora_alpha': 32}))
    (problem,) = MRLoRA.preflight_run(run, datasets, **merged)
    assert 'its rank is 16 and its alpha 32, the router has 16 and 256' in str(problem)
    assert MRLoRA.preflight_run(run, datasets, **merged, router_alpha=32.0) == MRLoRA.preflight(**merged) == []


def test_more_records_than_a_task_has_are_refused_by_preflight() -> None:
    from coinkit.engine import preflight

    sizes = ('benchmark.tasks.1.train.size=30', 'benchmark.tasks.3.train.size=8')
    with pytest.raises(ConfigError, match='router_samples: 20 given, but the training set of GQA has 8 rows'):
        preflight.check(config('mr_lora', *sizes))
    preflight.check(config('mr_lora', *sizes, 'methods.0.router_samples=8'))
    preflight.check(config('mr_lora', *sizes, tasks=('GQA',)))  # one expert needs no router


def test_more_experts_than_letters_are_refused_by_preflight() -> None:
    from coinkit.engine import preflight

    small = config('mr_lora', 'methods.0.alphabet=AB', tasks=('TextVQA', 'GQA', 'VQAv2'))
    with pytest.raises(ConfigError, match="'AB' has 2 letters for 3 experts"):
        preflight.check(small)
    misspelt = config('mr_lora', "methods.0.letters={'GAQ': 'C'}")
    with pytest.raises(ConfigError, match="Did you mean 'GQA'"):
        preflight.check(misspelt)


def test_compat_switches_the_released_reading_back() -> None:
    (switched,) = config('mr_lora', 'compat=mllm_cl').methods
    assert (switched['router_parse'], switched['router_fallback']) == ('upstream', 'random')
    (kept,) = config('mr_lora', 'compat=mllm_cl', 'methods.0.router_parse=strict').methods
    assert kept['router_parse'] == 'strict'


def test_mini_brings_the_routers_schedule_along() -> None:
    (full,), (mini,) = (load_config('coin/llava_mr_lora', mini=mini).methods for mini in (False, True))
    assert (full['router_lr'], full['router_epochs'], full['rank'], full['alpha']) == (5e-6, 40, 128, 256)
    assert mini['router_lr'] > 1e-4 and (mini['rank'], mini['alpha']) == (16, 32)
    assert 'mini' not in full and 'mini' not in mini


# --- the prompt -----------------------------------------------------------------------------------------------------

EXPERTS = [Expert('A', 'Fin', 'finance'), Expert('B', 'Sci', 'science')]


@pytest.mark.parametrize('name', shipped_prompts())
def test_the_parts_stand_in_order(name: str) -> None:
    prompt = read_prompt(name)
    lines = prompt.text(EXPERTS, 'why {so}?').split('\n')
    filled = {part: prompt.parts[part].split('{')[0] for part in PARTS}
    assert [line.startswith(filled[part]) for line, part in
            zip(lines, ('role', 'task', 'instructions', 'pool', 'expert', 'expert', 'question', 'closing'), strict=True)] \
        == [True] * 8
    assert '2' in lines[0] and 'Fin, Sci' in lines[0], 'number and names of the experts'
    assert 'A' in lines[4] and 'finance' in lines[4] and 'B' in lines[5] and 'science' in lines[5]
    assert 'why {so}?' in lines[6] and 'letter' in lines[7]


def test_a_prompt_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / 'mine.json'
    parts = dict.fromkeys(PARTS, 'x') | {'expert': '{letter} {nonsense}', 'question': '{question}'}
    file.write_text(json.dumps(parts))
    assert 'nonsense' in str(prompt_problems(str(file))[0])
    file.write_text(json.dumps(parts | {'expert': '{letter}'}))
    assert not prompt_problems(str(file))
    file.write_text(json.dumps({'role': ''}))
    assert 'needs the strings' in str(prompt_problems(str(file))[0])


class Counting:
    """A backbone whose tokens are characters."""

    def __init__(self, max_length: int = 400):
        self.max_length = self.context_length = max_length

    def prompt_length(self, sample: Sample) -> int:
        return sum(len(turn.text) for turn in sample.turns)


def test_a_question_is_the_first_human_turn_without_its_tag() -> None:
    questions = RoutingQuestions(Counting(1000), read_prompt('mini'), EXPERTS)
    asked = questions.ask(Query('7', ('picture',), (Turn('human', ' <image>\nwhat is this? '),), task='secret'))
    assert asked.images == ('picture',) and asked.turns[0].text.endswith('question: what is this?\nanswer with the letter.')
    assert not asked.references and not asked.task
    taught = questions.teach(Sample('7', 'x', (), (Turn('human', 'q'), Turn('gpt', 'the answer'))), 'B')
    assert [turn.role for turn in taught.turns] == ['human', 'gpt'] and taught.turns[1].text == 'B'
    assert 'the answer' not in taught.turns[0].text


def test_a_long_question_is_cut_and_counted() -> None:
    questions = RoutingQuestions(Counting(300), read_prompt('mini'), EXPERTS)
    asked = questions.ask(Query('7', (), (Turn('human', 'why ' * 200),)))
    assert 200 < len(asked.turns[0].text) <= 292 and 'question: why why' in asked.turns[0].text
    assert questions.shortened == 1
    with pytest.raises(ConfigError, match='Shorten'):
        RoutingQuestions(Counting(50), read_prompt('mini'), EXPERTS).ask(Query('7', (), (Turn('human', 'q'),)))


@pytest.mark.parametrize(('name', 'mini'), [('mini/mr_lora', False), ('coin/llava_mr_lora', True)])
def test_eight_experts_fit_the_mini_context(mini_engine: Any, name: str, mini: bool) -> None:
    run = load_config(name, mini=mini)
    backbone, stream = small_runs.plain_backbone(run), resolve_stream(run)
    datasets, trained = StreamDatasets(stream, run.data), MRLoRA()
    state = SimpleNamespace(stream=stream, index=7, config=run, backbone=backbone)
    questions = trained.pool.questions(state, 8)
    longest = max(backbone.prompt_length(questions.ask(datasets.test(task)[i])) for task in range(8) for i in range(6))
    assert longest <= 470 and questions.shortened == 0, f'{longest} of {backbone.context_length} tokens'
