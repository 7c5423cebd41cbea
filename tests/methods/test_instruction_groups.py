"""InstructionGroups: the published groups and chain from CoIN's rows, routing, its switches, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from coin_rows import BOX, DIVERSE, ORDER, ORDERS, ORIGINAL, TWO_LINES, WORD, Coin, write_task

from coinkit.config import load_config, resolve_stream
from coinkit.engine import preflight
from coinkit.engine.datasets import StreamDatasets
from coinkit.engine.init_from import source_stage
from coinkit.engine.ledger import Ledger
from coinkit.errors import ConfigError, DataError
from coinkit.methods.codebook_source import foreign
from coinkit.methods.instruction_groups import InstructionGroups
from coinkit.methods.instruction_reading import of_samples, templates_of
from coinkit.testing.layouts.coin import make_coin, make_coin_refined
from coinkit.testing.small_runs import config, write_config

VQA = {'TextVQA', 'GQA', 'VizWiz', 'VQAv2', 'OCR-VQA'}
GROUNDING = r'([^:\n]+):[^\n]*\Z'
FOUR = [{'ScienceQA'}, VQA, {'ImageNet'}, {'Grounding'}]
FIVE = [{'ScienceQA'}, {'TextVQA', 'VizWiz'}, {'ImageNet'}, {'GQA', 'VQAv2', 'OCR-VQA'}, {'Grounding'}]
TABLE = [('original', ORIGINAL, 'original order', FOUR), ('original', ORIGINAL, 'reverse', FOUR),
         ('original', ORIGINAL, 'alphabet', FOUR), ('original', TWO_LINES, 'original order', FOUR),
         ('diverse', DIVERSE, 'original order', FIVE), ('diverse', DIVERSE, 'reverse', FOUR),
         ('diverse', DIVERSE, 'alphabet', FIVE)]


def grouped(coin: Coin, **options: Any) -> InstructionGroups:
    method = InstructionGroups(**options)
    coin.train(method)
    return method


def groups_of(method: InstructionGroups) -> list[set[str]]:
    return [set(group.tasks) for group in method.codebook.groups]


# --- the published tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(('style', 'wording', 'order', 'expected'), TABLE)
def test_the_groups_of_each_style_and_order(tmp_path: Path, style: str, wording: dict, order: str, expected: list) -> None:
    method = grouped(Coin(tmp_path, wording, ORDERS[order]), style=style)
    found = groups_of(method)
    assert len(found) == len(expected) and all(group in found for group in expected)
    if order == 'original order':
        assert found == expected


def test_the_diverse_scores(tmp_path: Path) -> None:
    """VQAv2 passes the threshold in two groups: the larger wins."""
    decisions = {each.task: each for each in grouped(Coin(tmp_path, DIVERSE), style='diverse').codebook.decisions}
    assert decisions['VQAv2'].similarities == pytest.approx((0.0919, 0.3201, 0.2798, 0.5031, 0.0), abs=1e-4)
    assert decisions['OCR-VQA'].similarities == pytest.approx((0.0846, 0.3536, 0.2532, 0.4685, 0.0), abs=1e-4)
    assert decisions['VQAv2'].group == 3 and decisions['VQAv2'].joins


def test_many_wordings_of_a_task_score_their_mean(tmp_path: Path) -> None:
    """With the largest similarity instead, one shared wording is enough to join."""
    for folder, texts in (('A', ('{}\nred apple', '{}\ngreen pear')), ('B', ('{}\nred apple', '{}\nblue bus stop'))):
        write_task(tmp_path / folder, texts[0])
        rows = json.loads((tmp_path / folder / 'train.json').read_text())
        for row, text in zip(rows, (*texts, texts[0]), strict=True):
            row['conversations'][0]['value'] = '<image>\n' + text.format('What?')
        (tmp_path / folder / 'train.json').write_text(json.dumps(rows))
    for reduce, expected in (('mean', [{'A'}, {'B'}]), ('max', [{'A', 'B'}])):
        coin = Coin(tmp_path, {}, ('A', 'B'))
        method = grouped(coin, style='diverse', group_sim=reduce)
        assert groups_of(method) == expected
    assert method.codebook.groups[0].templates == ['red apple', 'green pear', 'blue bus stop']


ODD = f'What is the object in the image?\n{WORD}'  # ImageNet's in CoIN's own files


@pytest.mark.parametrize(('style', 'wording', 'order', 'expected'), [each for each in TABLE if each[2] == 'original order'])
def test_one_row_in_the_words_of_another_task_changes_nothing(tmp_path: Path, style: str, wording: dict, order: str,
                                                              expected: list) -> None:
    """A blind person may ask what the object is: VizWiz's rows are read as VizWiz's, in training and in test."""
    coin = Coin(tmp_path, {**wording, 'VizWiz': wording['VizWiz']})
    for task in ('VizWiz', 'GQA'):
        lines = wording[task].partition('\n')[2]
        coin.reword(task, 'train', f'What is the object in the image?\n{lines}')
        coin.reword(task, 'test', f'What is the object in the image?\n{lines}')
        coin.reword(task, 'test', f'one: of these?\n{lines}', row=1)
    method = grouped(coin, style=style)
    assert groups_of(method) == expected
    assert all('What is the object' not in text for group in method.codebook.groups for text in group.templates
               if 'ImageNet' not in group.tasks)
    answers = {task: method.right_stages(coin, task) for task in ORDER}
    for task in ORDER:
        for queries in (coin.queries(task), coin.queries(task)[2:]):
            assert set(method.coinkit_route(coin, queries)) == set(answers[task]), task


@pytest.mark.parametrize('style', ['original', 'diverse', '10type'])
@pytest.mark.parametrize('name', ['coin', 'coin_refined'])
def test_files_as_released_are_read_alike_in_training_and_test(tmp_path: Path, name: str, style: str) -> None:
    """Of every style, in CoIN's layout and in the refined one's: no row's question or phrase is left in an instruction."""
    {'coin': make_coin, 'coin_refined': make_coin_refined}[name](tmp_path, rows=12, style=style, test_rows=12)
    loaded = load_config(f'{name}/llava_cia', options=[f'data.root={str(tmp_path)!r}', f'benchmark.style={style}'])
    datasets = StreamDatasets(resolve_stream(loaded), loaded.data)
    assert InstructionGroups.preflight_run(loaded, datasets, style=style) == []
    templates = templates_of(loaded.benchmark, {})
    for index, task in enumerate(datasets.stream):
        read = [of_samples(samples, templates[task.name], where=task.name)
                for samples in (datasets.train(index), datasets.test(index))]
        if style != '10type':
            assert read[0] == read[1] and len(read[0]) == 1, task.name
            assert (read[0] == ('What is the object in the image?',)) == (task.name == 'ImageNet' and name == 'coin'
                                                                         and style == 'original')


@pytest.mark.parametrize('order', ORDERS)
def test_a_test_set_is_read_alone(tmp_path: Path, order: str) -> None:
    """Nobody says which task it is, and there may be one row: ImageNet's two lines end as everybody's do."""
    coin = Coin(tmp_path, TWO_LINES, ORDERS[order])
    method = grouped(coin)
    for task in ORDER:
        for queries in (coin.queries(task), coin.queries(task)[:1], coin.queries(task, named=True)):
            assert set(method.coinkit_route(coin, queries)) == set(method.right_stages(coin, task)), task


def test_tasks_that_were_not_trained_are_read_by_the_template_that_finds_fewest(tmp_path: Path) -> None:
    coin = Coin(tmp_path)
    method = InstructionGroups()
    coin.train(method, until=2)
    seen = []
    method.scores = lambda texts: seen.append(tuple(texts)) or [1.0, 0.0]
    method.coinkit_route(coin, coin.queries('Grounding'))
    assert seen == [(BOX.partition(':')[0],)]


# --- the chain ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('chain', ['computed', 'released'])
def test_the_chain_of_the_original_instructions(tmp_path: Path, chain: str) -> None:
    """The released table: where each task starts ('' = where the run stands), whether it averages, who answers."""
    coin, method = Coin(tmp_path), InstructionGroups(cia_chain=chain)
    starts, averaged = [], []
    for coin.index in range(8):
        coin.loaded.clear()
        method.coinkit_begin_task(coin)
        starts.append(coin.loaded[-1] if coin.loaded else f'{coin.index:02d}')  # the stage before
        averaged.append(method.reuses(coin))
    assert [int(start[:2]) for start in starts] == [0, 1, 2, 2, 4, 5, 5, 7]
    assert averaged == [False, False, False, True, True, False, True, True]
    answers = {task: method.coinkit_route(coin, coin.queries(task, named=chain == 'released')) for task in ORDER}
    assert {task: {stage[:2] for stage in stages} for task, stages in answers.items()} == {
        **dict.fromkeys(VQA, {'08'}), 'ScienceQA': {'01'}, 'ImageNet': {'03'}, 'Grounding': {'06'}}
    assert method.needs_task_id == (chain == 'released')


def test_the_released_chain_of_the_diverse_instructions(tmp_path: Path) -> None:
    """As the scripts have it, not as the grouping has it: GQA starts from ImageNet and averages; TextVQA asks OCR-VQA."""
    coin, method = Coin(tmp_path, DIVERSE), InstructionGroups(style='diverse', cia_chain='released')
    starts = dict(zip(ORDER, coin.train(method), strict=True))
    assert {task: starts[task][3:] for task in ('GQA', 'VizWiz', 'Grounding', 'VQAv2', 'OCR-VQA')} == {
        'GQA': 'imagenet', 'VizWiz': 'textvqa', 'Grounding': 'vizwiz', 'VQAv2': 'gqa', 'OCR-VQA': 'vqav2'}
    assert [each.averaged for each in method.codebook.decisions] == [False, False, False, True, True, False, True, True]
    assert set(method.coinkit_route(coin, coin.queries('TextVQA', named=True))) == {'08-ocr-vqa'}


def test_a_new_group_may_start_at_random(tmp_path: Path) -> None:
    drawn = []
    coin = Coin(tmp_path)
    coin.generator = lambda *parts: parts
    coin.bank = SimpleNamespace(blocks=('lora',), reinit=lambda block, generator: drawn.append((block, generator)))
    starts = dict(zip(ORDER, coin.train(InstructionGroups(expand_init='random')), strict=True))
    assert {task for task, start in starts.items() if start == '00-zero-shot'} == {'TextVQA', 'ImageNet', 'Grounding'}
    assert [each[1][1] for each in drawn] == [1, 2, 5] and starts['GQA'] == '02-textvqa' and starts['ScienceQA'] == ''


def test_decisions_are_said_and_kept(tmp_path: Path) -> None:
    coin = Coin(tmp_path)
    method = grouped(coin)
    assert coin.said[0] == 'ScienceQA: expand: new group 1 (the first)'
    assert coin.said[2] == 'ImageNet: expand: new group 3 (groups 0.0846, 0.6328)'
    assert coin.said[3] == 'GQA: re-train group 2 (similarity 1.0000, groups 0.0919, 1.0000, 0.6328)'
    stored = json.loads((coin.run.path / 'methods/InstructionGroups/codebook.json').read_text())
    assert stored['benchmark'] == 'coin' and stored['groups'][1]['stage'] == '08-ocr-vqa'
    again = InstructionGroups()
    again.coinkit_load_state_dict(coin, json.loads(json.dumps(method.coinkit_state_dict(coin))))
    assert again.codebook == method.codebook
    (title, html), = method.coinkit_report_sections(coin.run)
    assert title == 'Instruction groups' and 'test-set boundaries' in html and 're-train group 2' in html
    assert '08-ocr-vqa' in html and 'Answer the question using a single word or phrase.' in html
    assert InstructionGroups().coinkit_report_sections(SimpleNamespace(path=tmp_path / 'nothing')) == []


# --- routing ------------------------------------------------------------------------------------------------------


def test_before_the_first_task_nothing_is_chosen(tmp_path: Path) -> None:
    assert InstructionGroups().coinkit_route(Coin(tmp_path), []) is None


def test_each_question_may_choose_for_itself(tmp_path: Path) -> None:
    coin = Coin(tmp_path)
    method = grouped(coin, group_granularity='sample')
    mixed = [coin.queries(task)[0] for task in ('Grounding', 'GQA', 'ImageNet', 'GQA')]
    assert [stage[:2] for stage in method.coinkit_route(coin, mixed)] == ['06', '08', '03', '08']
    assert not method.uses_test_sets and InstructionGroups().uses_test_sets


def test_a_test_set_unlike_any_group_goes_to_the_nearest_or_to_the_newest(tmp_path: Path) -> None:
    coin = Coin(tmp_path)
    write_task(tmp_path / 'Strange', '{}\nGive the single word that the question asks for.')
    for miss, expected in (('argmax', '08-ocr-vqa'), ('upstream', '06-grounding')):
        coin.index = -1
        stages = grouped(coin, test_miss=miss).coinkit_route(coin, coin.queries('Strange'))
        assert set(stages) == {expected} and len(stages) == 3
    assert set(grouped(coin, test_miss='upstream').coinkit_route(coin, coin.queries('GQA'))) == {'08-ocr-vqa'}


def test_a_line_by_number_goes_by_the_tasks_name(tmp_path: Path) -> None:
    """For files whose instruction no pattern finds."""
    coin = Coin(tmp_path, TWO_LINES)
    own = [SimpleNamespace(name=name, template=GROUNDING if name == 'Grounding' else '') for name in ORDER]
    coin.config.benchmark = SimpleNamespace(name='own', templates=(GROUNDING,), tasks=own)
    assert groups_of(grouped(coin))[1] == {*VQA, 'ImageNet'}  # its last line is theirs
    method = grouped(coin, template_line={'ImageNet': 2})
    assert groups_of(method) == FOUR and method.needs_task_id
    assert set(method.coinkit_route(coin, coin.queries('ImageNet', named=True))) == {'03-imagenet'}


# --- what is refused ----------------------------------------------------------------------------------------------


def test_texts_of_stop_words_are_unlike_or_an_error(tmp_path: Path) -> None:
    for name, text in (('A', 'What is this?'), ('B', 'Who are you?')):
        write_task(tmp_path / name, text)
    assert groups_of(grouped(Coin(tmp_path, {}, ('A', 'B')), style='diverse')) == [{'A'}, {'B'}]
    with pytest.raises(DataError, match="empty vocabulary"):
        grouped(Coin(tmp_path, {}, ('A', 'B')), group_empty='error')


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(threshold=0.0), 'threshold: 0.0 given'), (dict(threshold=1.5), 'threshold: 1.5 given'),
    (dict(style='plain'), "style: 'plain' given, 'original' or 'diverse' or '10type' allowed"),
    (dict(test_miss='last'), "test_miss: 'last' given")])
def test_values_no_run_can_use(arguments: dict[str, Any], message: str) -> None:
    (problem,) = InstructionGroups.preflight(**arguments)
    assert message in str(problem)
    assert InstructionGroups().threshold == 0.9 and InstructionGroups(style='10type').threshold == 0.3


def test_what_the_released_chain_does_not_read_is_told() -> None:
    found = InstructionGroups.preflight(cia_chain='released', threshold=0.5, group_sim='max', test_miss='upstream')
    assert [problem.where for problem in found] == ['methods: threshold', 'methods: group_sim']
    assert "0.5 given, and cia_chain='released' does not read it" in str(found[0])


@pytest.mark.parametrize(('methods', 'options', 'message'), [
    ([dict(type='InstructionGroups', template_line={'Imagenet': 2})], (), "unknown task 'Imagenet'. Did you mean"),
    ([dict(type='CIA'), dict(type='InstructionGroups')], (), 'CIA and InstructionGroups both group tasks'),
    ([dict(type='CIA', cia_chain='released')], ('tasks=["TextVQA","GQA"]',), "starts TextVQA from ScienceQA, which this"),
    ([dict(type='CIA', template_line={'GQA': 0})], (), 'methods: template_line.GQA: 0 given; lines count from 1, or from'),
    ([dict(type='CIA', template_line={'GQA': 7})], (), "GQA: training set: record 'gqa-train-0"),
    ([dict(type='CIA', template_line={'GQA': 7})], (), "GQA: test set: record 'gqa-test-0"),
    ([dict(type='CIA')], (r"benchmark.per_task.GQA.template='\A[^\n]*'",),
     "GQA: training set: more than 12 different instructions, such as '"),
    ([dict(type='CIA')], (r"benchmark.per_task.GQA.template='\A[^\n]*'",), 'GQA: test set: more than 12 different'),
    ([dict(type='CIA', group_granularity='sample')], ("benchmark.per_task.GQA.template='.*'", 'benchmark.templates=[]'),
     "group_granularity: 'sample' reads a question without its task, and GQA has a template of its own")])
def test_what_does_not_fit_the_run_is_told_before_it_starts(tmp_path: Path, methods: list, options: tuple,
                                                            message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('coinkit.data.templates.MOST', 12)
    file = write_config(tmp_path / 'run.py', methods)
    loaded = config(str(file), *options, tasks=('ScienceQA', 'TextVQA', 'ImageNet', 'GQA'))
    with pytest.raises(ConfigError) as error:
        preflight.check(loaded)
    assert message in str(error.value)


def source_run(folder: Path, benchmark: str, stage: str) -> Path:
    """A run of one task that was grouped."""
    folder.mkdir()
    Ledger(folder / 'ledger.jsonl').append('stage_done', stage=stage, adapter_sha256='0')
    (folder / 'stages' / stage / 'adapter').mkdir(parents=True)
    group = {'templates': ['answer with a single word.'], 'tasks': ['TextVQA'], 'stage': stage}
    other = {'templates': ['elsewhere'], 'tasks': ['GQA'], 'stage': '00-other'}
    (folder / 'methods' / 'InstructionGroups').mkdir(parents=True)
    (folder / 'methods' / 'InstructionGroups' / 'codebook.json').write_text(json.dumps(
        {'schema': 'coinkit.codebook/1', 'benchmark': benchmark, 'style': 'diverse', 'threshold': 0.3,
         'groups': [other, group], 'decisions': []}))
    return folder


def test_a_codebook_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    source = source_run(tmp_path / 'old', 'ucit', '01-textvqa')
    file = write_config(tmp_path / 'run.py', [dict(type='CIA')])
    with pytest.raises(ConfigError, match="this codebook groups the tasks of benchmark 'ucit', and the run's is 'mini'"):
        preflight.check(config(str(file), f'init_from={source}'))
    blob = {'codebook': {'benchmark': 'ucit', 'groups': [], 'decisions': []}}
    with pytest.raises(ConfigError, match="'ucit', and the run's is 'coin'"):
        InstructionGroups().coinkit_load_state_dict(Coin(tmp_path / 'coin', {}), blob)
    assert foreign('here', {'benchmark': 'coin'}, 'coin') == []


def test_the_group_of_the_adapter_a_run_starts_from_comes_along(tmp_path: Path) -> None:
    """And stays when the source is gone."""
    source = source_run(tmp_path / 'old', 'coin', '01-textvqa')
    coin, method = Coin(tmp_path / 'coin', order=('GQA', 'VQAv2')), InstructionGroups(style='diverse')
    coin.config.init_from = str(source)
    coin.init_source = lambda: source_stage(coin.config.init_from)
    assert coin.train(method, until=1) == ['00-zero-shot'] and method.reuses(coin)
    assert groups_of(method) == [{'TextVQA', 'GQA'}] and method.codebook.groups[0].stage == '01-gqa'
    source.rename(tmp_path / 'moved')
    again = InstructionGroups(style='diverse')
    coin.train(again, until=1)
    assert again.codebook == method.codebook
