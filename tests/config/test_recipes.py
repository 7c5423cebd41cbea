"""`compat` sets what the released program of a benchmark and method did, and no key that the user gave."""

import pytest

from coinkit.config import dump, load_config

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
