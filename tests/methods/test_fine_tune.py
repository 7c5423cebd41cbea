"""FineTune with the whole language model, and MoELoRA's two ways to count ranks; LoRA runs are tested with the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from coinkit.engine.schedule import PhaseSchedule
from coinkit.engine.trainer import PhaseTrainer
from coinkit.errors import ConfigError
from coinkit.methods.moelora import MoELoRA
from coinkit.testing.runs import opened
from coinkit.testing.small_runs import adapter, config, plain_backbone, write_config

FULL, LORA = dict(type='FineTune', mode='full'), dict(type='FineTune', rank=4, alpha=8)
QUICK = ('evaluation.limit=1', 'evaluation.zero_shot=False', 'schedule.steps=1', 'schedule.warmup_steps=0',
         'schedule.lr=1e-3')


@pytest.mark.parametrize('method', ['FineTune', 'SingleTask', 'Joint'])
def test_a_rank_for_the_whole_model_is_refused(tmp_path, method) -> None:
    from coinkit.config import load_config
    from coinkit.engine import preflight

    file = str(write_config(tmp_path / 'run.py', [dict(type=method, mode='full', alpha=8, targets='all-linear')]))
    with pytest.raises(ConfigError) as caught:
        preflight.check(config(file))
    assert [problem.where for problem in caught.value.problems] == ['methods: alpha', 'methods: targets']
    assert "8 given, and mode='full' does not read it" in str(caught.value)
    write_config(tmp_path / 'run.py', [dict(type=method, mode='full')])
    preflight.check(load_config(file, mini=True))  # which puts the mini models' rank everywhere


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


def test_one_step_is_a_plain_adamw_step_on_the_same_batch(mini_engine, folder, monkeypatch) -> None:
    """Without the engine: the mean loss over labelled tokens, its gradient clipped, torch's optimizer."""
    seen: list[list[Any]] = []
    original = PhaseTrainer._step
    monkeypatch.setattr(PhaseTrainer, '_step', lambda trainer, step, batches: (seen.append(batches),
                                                                              original(trainer, step, batches)))
    cut_down = config(str(write_config(folder / 'one.py', [FULL])), *QUICK, 'schedule.global_batch_size=4',
                      'schedule.weight_decay=0.1', tasks=('TextVQA',))
    mini_engine.train(cut_down, folder / 'one')
    learnt = adapter(folder / 'one', '01-textvqa')
    ((batch, other),) = seen  # two micro-batches
    backbone = plain_backbone(cut_down)
    parameters = {name: one for name, one in backbone.model.named_parameters() if f'model.{name}' in learnt}
    assert len(parameters) == len(learnt)
    backbone.model.train().requires_grad_(False)
    for parameter in parameters.values():
        parameter.requires_grad_()
    torch.cat([backbone.forward(each).token_loss_N for each in (batch, other)]).mean().backward()
    torch.nn.utils.clip_grad_norm_(list(parameters.values()), cut_down.schedule.grad_clip)
    vectors = [one for one in parameters.values() if one.ndim < 2]
    matrices = [one for one in parameters.values() if one.ndim >= 2]
    torch.optim.AdamW([{'params': matrices, 'weight_decay': 0.1}, {'params': vectors, 'weight_decay': 0.0}], lr=1e-3,
                      betas=cut_down.schedule.betas, eps=cut_down.schedule.eps).step()
    for name, parameter in parameters.items():  # a step is 1e-3 wide
        torch.testing.assert_close(learnt[f'model.{name}'], parameter.detach(), rtol=0, atol=1e-6, msg=name)


def test_without_a_rate_nothing_changes(mini_engine, folder, monkeypatch) -> None:
    monkeypatch.setattr(PhaseSchedule, 'lr_factor', lambda *_: 0.0)
    mini_engine.train(config(str(write_config(folder / 'still.py', [LORA])), *QUICK), folder / 'still')
    start, *after = (adapter(folder / 'still', stage) for stage in ('00-zero-shot', '01-textvqa', '02-gqa'))
    assert any('projector' in name for name in start) and any(name.endswith('.B') for name in start)
    for stage in after:
        assert stage.keys() == start.keys() and all(torch.equal(stage[name], start[name]) for name in start)


def test_every_task_starts_with_an_optimizer_without_memory(mini_engine, folder, monkeypatch) -> None:
    largest: dict[tuple[int, int, str], float] = {}  # task, step, before or after -> the largest moment
    original = PhaseTrainer._step

    def watched(trainer: PhaseTrainer, step: int, batches: list[Any]) -> None:
        def look(when: str) -> None:
            moments = [value.abs().max().item() for state in trainer.state.strategy.optimizer_state().values()
                       for name, value in state.items() if name != 'step']
            largest[trainer.state.index, step, when] = max(moments, default=0.0)

        look('before')
        original(trainer, step, batches)
        look('after')

    monkeypatch.setattr(PhaseTrainer, '_step', watched)
    mini_engine.train(config(str(write_config(folder / 'moments.py', [LORA])), *QUICK), folder / 'moments')
    assert [largest[task, 0, 'before'] for task in (0, 1)] == [0, 0]
    assert all(largest[task, 0, 'after'] > 0 for task in (0, 1))


@pytest.mark.parametrize(('moe_r', 'ranks', 'scale'), [('total', 2, 2.0), ('per_expert', 8, 2.0)])
def test_the_rank_is_shared_or_each_expert_s_own(mini_engine, folder, moe_r, ranks, scale) -> None:
    method = dict(type='MoELoRA', num_experts=4, rank=8, alpha=16, moe_r=moe_r)
    with opened(config(str(write_config(folder / f'{moe_r}.py', [method]))), folder / moe_r) as runner:
        blocks = runner.state.bank.blocks.values()
        assert [(info.rank, info.scale) for info in blocks] == [(ranks, scale)] * 4


def test_a_rank_of_their_own_need_not_divide() -> None:
    assert MoELoRA.preflight(num_experts=3, rank=8) and not MoELoRA.preflight(num_experts=3, rank=8, moe_r='per_expert')
    assert "'each' given, 'total' or 'per_expert'" in str(MoELoRA.preflight(moe_r='each')[0])
