"""FineTune with the whole language model, and MoELoRA's two ways to count ranks; LoRA runs are tested with the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coinkit.methods.moelora import MoELoRA
from coinkit.testing.runs import opened
from coinkit.testing.small_runs import adapter, config, write_config

FULL = dict(type='FineTune', mode='full')
QUICK = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=1', 'schedule.warmup_steps=0',
         'schedule.lr=1e-3')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('full')


def test_every_language_model_parameter_trains_and_the_tower_does_not(mini_engine, folder) -> None:
    cut_down = config(str(write_config(folder / 'run.py', [FULL])), *QUICK)
    mini_engine.train(cut_down, folder / 'run')
    start, first, second = (adapter(folder / 'run', stage) for stage in ('00-zero-shot', '01-textvqa', '02-gqa'))
    with opened(cut_down, folder / 'looked_at') as runner:
        backbone = runner.state.backbone
        trained, tower = set(runner.state.trainable()), f'{backbone.vision_tower}.'
        language = {name for name, _ in backbone.model.named_parameters() if name.startswith(f'{backbone.language_model}.')}
    assert language and language <= trained and not any(name.startswith(tower) for name in trained)
    assert start.keys() == first.keys() == second.keys() and len(start) == len(trained)
    assert all(not torch.equal(first[name], start[name]) for name in start if 'embed_tokens' not in name)
    sizes = {(folder / 'run' / 'stages' / stage / 'adapter' / 'adapter.safetensors').stat().st_size
             for stage in ('00-zero-shot', '01-textvqa', '02-gqa')}
    assert len(sizes) == 1, 'what is stored does not grow with the tasks'


@pytest.mark.parametrize(('moe_r', 'ranks', 'scale'), [('total', 2, 2.0), ('per_expert', 8, 2.0)])
def test_the_rank_is_shared_or_each_expert_s_own(mini_engine, folder, moe_r, ranks, scale) -> None:
    method = dict(type='MoELoRA', num_experts=4, rank=8, alpha=16, moe_r=moe_r)
    with opened(config(str(write_config(folder / f'{moe_r}.py', [method]))), folder / moe_r) as runner:
        blocks = runner.state.bank.blocks.values()
        assert [(info.rank, info.scale) for info in blocks] == [(ranks, scale)] * 4


def test_a_rank_of_their_own_need_not_divide() -> None:
    assert MoELoRA.preflight(num_experts=3, rank=8) and not MoELoRA.preflight(num_experts=3, rank=8, moe_r='per_expert')
    assert "'each' given, 'total' or 'per_expert'" in str(MoELoRA.preflight(moe_r='each')[0])
