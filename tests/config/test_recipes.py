"""`compat` sets what the released program of a benchmark and method did, and no key that the user gave."""

import json

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
