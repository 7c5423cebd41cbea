"""`init_from` an adapter folder of other software: `peft_type` decides who reads it, a run and its plan say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.cli.main import main
from coinkit.engine.plan import show_plan
from coinkit.errors import CoinkitError
from coinkit.testing import small_runs
from coinkit.testing.small_runs import adapter

QUICK = ('evaluation.zero_shot=False', 'evaluation.limit=1', 'schedule.steps=2', 'checkpoint.every_steps=2')
SMALL = dict(type='MoELoRA', num_experts=4, rank=8, alpha=16)
START = '00-zero-shot'


def config(*more: str, **method):
    given = {**SMALL, **method} if method.get('type', 'MoELoRA') == 'MoELoRA' else method
    return small_runs.config('moelora', *QUICK, f'methods=[{json.dumps(given)}]', *more, tasks=('TextVQA',))


@pytest.fixture(scope='module')
def learnt(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run of MoELoRA, and the folder that `coinkit export --to coin` writes of it."""
    folder = tmp_path_factory.mktemp('learnt')
    with small_runs.small_engine({}) as engine:
        engine.train(config(), folder / 'run')
        assert main(['export', str(folder / 'run'), '--to', 'coin', '--out', str(folder / 'coin')]) == 0
    return folder / 'run', folder / 'coin'


@pytest.fixture
def copied(learnt, tmp_path) -> Path:
    """The folder, to be changed."""
    target = tmp_path / 'coin'
    target.mkdir()
    for file in learnt[1].iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def edited(folder: Path, **changes) -> None:
    path = folder / 'adapter_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(engine, settings, folder: Path, capsys) -> str:
    """What the start of a run says; its plan says the same."""
    with pytest.raises(CoinkitError) as error:
        engine.train(settings, folder / 'new')
    capsys.readouterr()
    assert show_plan(settings, folder / 'plan') == 2
    said = capsys.readouterr().out
    assert str(error.value) in said and 'Ready' not in said
    assert not (folder / 'new' / 'ledger.jsonl').exists()
    return str(error.value)


def planned(settings, folder: Path) -> bool:
    return show_plan(settings, folder) == 0


# --- CoIN's folders -------------------------------------------------------------------------------------------------


def test_a_run_starts_bit_for_bit_where_the_exported_one_ended(mini_engine, learnt, tmp_path, capsys) -> None:
    run, folder = learnt
    settings = config(f'init_from={folder}', 'schedule.lr=1e-8')
    assert planned(settings, tmp_path / 'new'), capsys.readouterr().out
    mini_engine.train(settings, tmp_path / 'new')
    assert f'starting from the CoIN MoELoRA adapter {folder}, with 4 tensors beside the experts' in capsys.readouterr().out
    old, start = adapter(run, '01-textvqa'), adapter(tmp_path / 'new', START)
    assert old.keys() == start.keys() and any('projector' in name for name in old)
    assert all(torch.equal(start[name], value) for name, value in old.items())
    assert main(['export', str(tmp_path / 'new'), '--stage', 'zero', '--to', 'coin', '--out', str(tmp_path / 'again')]) == 0
    assert all((tmp_path / 'again' / file.name).read_bytes() == file.read_bytes() for file in folder.glob('adapter_*'))


def test_a_folder_as_the_released_code_writes_it(mini_engine, learnt, copied, tmp_path) -> None:
    """.bin, a second copy of every expert, half precision beside them, and a method that trains no projector."""
    tensors = load_file(copied / 'adapter_model.safetensors')
    (copied / 'adapter_model.safetensors').unlink()
    twins = {re.sub(r'\.weight$', '.mlp.weight', name): one for name, one in tensors.items() if 'router' not in name}
    torch.save(tensors | twins, copied / 'adapter_model.bin')
    beside = torch.load(copied / 'non_lora_trainables.bin', weights_only=True)
    torch.save({name: one.half() for name, one in beside.items()}, copied / 'non_lora_trainables.bin')
    settings = config(f'init_from={copied}', 'methods.0.train_projector=False')
    mini_engine.train(settings, tmp_path / 'new')
    old, start, end = (adapter(*where) for where in ((learnt[0], '01-textvqa'), (tmp_path / 'new', START),
                                                    (tmp_path / 'new', '01-textvqa')))
    assert all(torch.equal(start[name], value) for name, value in old.items() if name.startswith('bank.'))
    projector = [name for name in old if name.startswith('model.')]
    assert projector and all(torch.equal(start[name], old[name].half().float()) for name in projector)
    assert all(torch.equal(start[name], end[name]) for name in projector), 'it is part of every later stage'


@pytest.mark.parametrize(('method', 'message'), [
    ({'num_experts': 2}, r'adapter_config.json: expert_num: 4 there, 2 in this run.*Set num_experts=4\.'),
    ({'rank': 16}, r"r: 8 there, 16 in this run(.|\n)*Set rank=8, the experts' ranks together \(moe_r='total'\)\."),
    ({'alpha': 8}, r'lora_alpha: 16 there, 8 in this run.*Set alpha=16\.'),
    ({'targets': r'.*q_proj'}, r"adapts '.*', this run's method does not .*Give the method the targets it was made with"),
    ({'type': 'FineTune', 'rank': 4},
     "of 4 routed experts and this run's method has 1 block under gate 'none'. Use methods="),
    ({'type': 'FineTune', 'mode': 'full'}, "this run's method has no LoRA bank. Use methods=")])
def test_a_method_that_does_not_fit_is_told_what_fits(mini_engine, learnt, tmp_path, capsys, method, message) -> None:
    said = refused(mini_engine, config(f'init_from={learnt[1]}', **method), tmp_path, capsys)
    assert 'init_from: ' in said and str(learnt[1]) in said and re.search(message, said)


def test_the_advice_is_true(learnt, tmp_path, capsys) -> None:
    """What the refusal of FineTune says to write is a run that starts."""
    fine_tune = [*QUICK, f'init_from={learnt[1]}']
    assert not planned(small_runs.config('finetune', *fine_tune), tmp_path / 'a')
    advice = re.search(r'Use (methods=\[.*\])\.', capsys.readouterr().out)
    assert planned(small_runs.config('finetune', *fine_tune, advice[1]), tmp_path / 'b'), capsys.readouterr().out
    assert planned(config(f'init_from={learnt[1]}', rank=2, alpha=4, moe_r='per_expert'), tmp_path / 'c')


def test_a_folder_of_another_backbone_is_refused(mini_engine, learnt, copied, tmp_path, capsys) -> None:
    qwen = 'backbone=' + json.dumps(dict(type='QwenVL', checkpoint='mini', dtype='float32', max_length=512))
    said = refused(mini_engine, config(f'init_from={learnt[1]}', qwen), tmp_path, capsys)
    assert 'and this backbone has no such module' in said and 'Use the backbone it was made on.' in said
    tensors = load_file(copied / 'adapter_model.safetensors')
    save_file({name: torch.cat([one, one], 1) if 'lora_A' in name else one for name, one in tensors.items()},
              copied / 'adapter_model.safetensors')
    said = refused(mini_engine, config(f'init_from={copied}'), tmp_path / 'b', capsys)
    assert re.search(r'lora_A\.loraA\.0\.weight: shape \(2, \d+\), this backbone wants \(2, \d+\)', said)


def test_a_projector_of_another_shape_is_refused(mini_engine, copied, tmp_path, capsys) -> None:
    beside = torch.load(copied / 'non_lora_trainables.bin', weights_only=True)
    torch.save({name: one[..., :-1].clone() for name, one in beside.items()}, copied / 'non_lora_trainables.bin')
    said = refused(mini_engine, config(f'init_from={copied}'), tmp_path, capsys)
    assert 'non_lora_trainables.bin' in said and 'instead of' in said and 'projector' in said


def test_a_run_with_another_number_of_experts_is_told_which(mini_engine, learnt, tmp_path, capsys) -> None:
    said = refused(mini_engine, config(f'init_from={learnt[0]}', num_experts=2), tmp_path, capsys)
    assert "it holds the blocks 'expert-0'" in said and 'Set num_experts=4' in said


# --- any folder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('change', 'message'), [
    ({'peft_type': 'MOE_LORA'}, r"peft_type: 'MOE_LORA' is not supported, allowed: 'LORA', 'MOE_LORA_CoIN'\. Did you mean"),
    ({'peft_type': None}, "peft_type: None is not supported"),
    ({}, 'holds neither adapter_model.safetensors nor adapter_model.bin')])
def test_a_folder_that_nobody_reads_is_refused_before_the_model_is_built(copied, tmp_path, capsys, monkeypatch, change,
                                                                       message) -> None:
    from coinkit.backbones.llava import Llava

    edited(copied, **change)
    if not change:
        (copied / 'adapter_model.safetensors').unlink()
    monkeypatch.delattr(Llava, '__init__')
    assert not planned(config(f'init_from={copied}'), tmp_path / 'plan')
    assert re.search(message, capsys.readouterr().out)


def test_a_lora_of_llavas_trainers(mini_engine, tmp_path, capsys) -> None:
    """LLaVA's released LoRA folders: original names, .bin, the projector in a file beside it; and MoELoRA is no LoRA."""
    settings = small_runs.config('finetune', *QUICK, 'methods.0.rank=4', tasks=('TextVQA',))
    mini_engine.train(settings, tmp_path / 'run')
    folder = tmp_path / 'lora'
    assert main(['export', str(tmp_path / 'run'), '--to', 'peft', '--out', str(folder)]) == 0
    tensors = {name.replace('model.language_model.', 'model.').replace('multi_modal_projector.linear_1', 'mm_projector.0')
               .replace('multi_modal_projector.linear_2', 'mm_projector.2'): one
               for name, one in load_file(folder / 'adapter_model.safetensors').items()}
    (folder / 'adapter_model.safetensors').unlink()
    torch.save({name: one for name, one in tensors.items() if 'lora_' in name}, folder / 'adapter_model.bin')
    torch.save({name: one for name, one in tensors.items() if 'lora_' not in name}, folder / 'non_lora_trainables.bin')
    edited(folder, modules_to_save=None)
    start = f'init_from={folder}'
    mini_engine.train(small_runs.config('finetune', *QUICK, 'methods.0.train_projector=False', start, tasks=('TextVQA',)),
                      tmp_path / 'new')
    old, new = adapter(tmp_path / 'run', '01-textvqa'), adapter(tmp_path / 'new', START)
    assert old.keys() == new.keys() and all(torch.equal(new[name], value) for name, value in old.items())
    said = refused(mini_engine, config(start), tmp_path / 'moelora', capsys)
    assert "is one LoRA and this run's method has 4 blocks under gate 'softmax'" in said
