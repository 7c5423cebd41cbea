"""`compat` sets what the released program of a benchmark and method did, and no key that the user gave."""

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from coinkit.config import dump, load_config, resolve_stream
from coinkit.engine.datasets import StreamDatasets
from coinkit.testing.layouts.coin import make_coin

SCHEDULE = ('lr_schedule', 'grad_clip', 'projector_lr', 'loss_norm')


def schedule_of(config) -> tuple:
    return tuple(getattr(config.schedule, key) for key in SCHEDULE)


@pytest.mark.parametrize(('name', 'compat', 'expected'), [
    ('coin/llava_moelora', 'coin', ('warmup_log', 1.0, None, 'microbatch')),
    ('coin_refined/llava_moelora', 'lcia', ('warmup_log', 1.0, None, 'microbatch')),
    ('coin_refined/llava_cia', 'lcia', ('cosine', 0.0, 2e-5, 'microbatch')),
    ('coin/llava_cia', 'coin', ('warmup_log', 1.0, None, 'microbatch')),
    ('mllm_cl/domain_llava_moelora', 'mllm_cl', ('cosine', 0.0, None, 'microbatch'))])
def test_the_released_schedule_is_that_of_benchmark_and_method(name: str, compat: str, expected: tuple) -> None:
    config = load_config(name, options=[f'compat={compat}'])
    assert schedule_of(config) == expected and config.projector_carry == 'upstream'


@pytest.mark.parametrize('compat', ['coin', 'lcia', 'mllm_cl'])
def test_moelora_drops_out_per_expert_as_released(compat: str) -> None:
    (method,) = load_config('coin/llava_moelora', options=[f'compat={compat}']).methods
    assert method['moe_dropout'] == 'per_expert'
    kept = load_config('coin/llava_moelora', options=[f'compat={compat}', 'methods.0.moe_dropout=shared'])
    assert kept.methods[0]['moe_dropout'] == 'shared'


def test_keys_of_the_command_line_stay() -> None:
    options = ['compat=lcia', 'schedule.grad_clip=0.5', 'schedule.lr_schedule=linear', 'projector_carry=fixed']
    config = load_config('coin_refined/llava_cia', options=options)
    assert schedule_of(config) == ('linear', 0.5, 2e-5, 'microbatch') and config.projector_carry == 'fixed'


def test_keys_of_the_run_file_stay_and_those_of_its_bases_do_not(write) -> None:
    base = "_base_ = 'base.py'\nschedule = dict(lr_schedule='linear', grad_clip=3.0)\n"
    write('recipe.py', base)
    path = write('run.py', "_base_ = 'recipe.py'\ncompat = 'coin'\nschedule = dict(grad_clip=0.5)\n")
    config = load_config(path)
    assert schedule_of(config) == ('warmup_log', 0.5, None, 'microbatch')
    assert load_config(write('resolved.py', dump(config))) == config


@pytest.mark.parametrize('method', ['finetune', 'moelora', 'cia', 'mr_lora'])
@pytest.mark.parametrize('options', [[], ['compat=coin']])
def test_minigpt_v2_is_scored_on_its_answers_as_generated(method: str, options: list[str]) -> None:
    def grounding(name: str, **how) -> tuple:
        config = load_config(name, options=options, **how)
        (metric,) = (task.metric['type'] for task in config.benchmark.tasks if task.name == 'Grounding')
        return metric, config.backbone['boxes']

    assert grounding(f'coin/minigpt_v2_{method}') == ('grounding_minigpt', 'coin')
    assert grounding(f'coin/minigpt_v2_{method}', mini=True) == ('grounding_coin', 'coin')  # drawn rows: square boxes alone
    assert grounding(f'coin/qwen_vl_{method}') == ('grounding_coin', 'coin')


def test_minigpt_v2_needs_the_box_on_the_picture_itself(tmp_path) -> None:
    make_coin(tmp_path, 2)
    config = load_config('coin/minigpt_v2_finetune', options=[f'data.root={tmp_path}', 'tasks=[Grounding]'])
    datasets = StreamDatasets(resolve_stream(config), config.data)
    assert datasets.preflight() == []
    (path,) = tmp_path.glob('playground/*/Grounding/test.json')
    rows = json.loads(path.read_text())
    for row in rows:
        del row['origin_answer_bbox']
    path.write_text(json.dumps(rows))
    (problem,) = StreamDatasets(resolve_stream(config), config.data).preflight()
    assert 'have no origin_answer_bbox' in str(problem)


@pytest.mark.parametrize(('method', 'numbers', 'later'), [
    ('finetune', dict(rank=32, alpha=64), 64), ('moelora', dict(num_experts=5, rank=35, alpha=70), 64),
    ('olora', dict(rank=32, alpha=64), 32)])
def test_mcitlibs_recipe_of_the_domain_stream(method: str, numbers: dict, later: int) -> None:
    config = load_config(f'mllm_cl/domain_mcitlib_llava_{method}')
    assert {name: config.methods[0][name] for name in numbers} == numbers and config.schedule.lr == 2e-5
    assert config.backbone == load_config('ucit/llava_finetune').backbone  # the instruction-tuned start
    schedules = [vars(config.schedule) | task.schedule for task in resolve_stream(config)]
    assert [each['epochs'] for each in schedules] == [1, 3, 1, 2, 1]
    assert [each['global_batch_size'] for each in schedules] == [64, *[later] * 4]
    assert config.benchmark.tasks[1].test['suffix'] == ' Answer the question with a single word (or phrase).'


@pytest.mark.parametrize('method', ['finetune', 'moelora', 'cia'])
def test_qwen_vl_on_coin_refined_has_coins_recipe(method: str) -> None:
    refined, coin = (load_config(f'{name}/qwen_vl_{method}') for name in ('coin_refined', 'coin'))
    assert refined.benchmark.name == 'coin_refined' and refined.data.root == 'data/coin_refined'
    for section in ('backbone', 'schedule', 'evaluation'):
        assert getattr(refined, section) == getattr(coin, section)


def test_one_batch_for_all_tasks_as_the_page_shows_it(write) -> None:
    page = Path(__file__).parents[2].joinpath('docs/benchmarks.md').read_text(encoding='utf-8')
    (shown,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'coin_uniform128' in block)
    config = load_config(write('run.py', dedent(shown)))
    stream = resolve_stream(config)
    assert [(vars(config.schedule) | task.schedule)['global_batch_size'] for task in stream] == [128] * 8
    released = load_config('coin/llava_moelora')
    assert (config.backbone, config.methods) == (released.backbone, released.methods)
    assert resolve_stream(released)[2].schedule['global_batch_size'] == 1024
