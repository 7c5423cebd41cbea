"""The pre-training tool: resumed equals uninterrupted, wrong input is named; the shipped weights load as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from coinkit.errors import ConfigError
from tools.mini_pretraining.model import SHIPPED, MiniModel
from tools.mini_pretraining.samples import Stream, is_right
from tools.mini_pretraining.training import CHECKPOINT
from tools.pretrain_mini import main, read_mix

FOLDER = Path(str(SHIPPED)) / 'llava'
TINY = ['--init', 'shipped', '--freeze-vision', '--batch-size', '2', '--device', 'cpu', '--evaluate', '1', '--mix',
        'caption=0', '--save-every', '1']


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensors(file):
    with safe_open(file, 'pt') as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}


def test_a_resumed_run_ends_in_the_same_weights_and_the_folder_loads(tmp_path, capsys):
    from transformers import LlavaForConditionalGeneration

    assert main([*TINY, '--steps', '3', '--out', str(tmp_path / 'whole')]) == 0
    assert main([*TINY, '--steps', '3', '--stop-after', '1', '--out', str(tmp_path / 'parts')]) == 0
    assert not (tmp_path / 'parts/model.safetensors').exists()
    assert main([*TINY, '--steps', '3', '--out', str(tmp_path / 'parts')]) == 0
    assert 'continuing' in capsys.readouterr().err
    whole, parts = (tmp_path / name for name in ('whole', 'parts'))
    assert (whole / 'model.safetensors').read_bytes() == (parts / 'model.safetensors').read_bytes()
    record = json.loads((whole / 'pretraining.json').read_text())
    assert (record['samples'], record['seed'], record['steps']) == (6, 0, 3)
    assert set(record['held_out_percent']) >= {'caption', 'gqa'} and 'changed' not in record
    shipped, trained = tensors(FOLDER / 'model.safetensors'), tensors(whole / 'model.safetensors')
    assert all(torch.equal(shipped[name], trained[name]) == ('vision_tower' in name) for name in shipped
               if name.endswith('.weight') and 'norm' not in name)
    _, info = LlavaForConditionalGeneration.from_pretrained(whole, output_loading_info=True)
    assert not any(info.values())


def test_a_run_of_another_recipe_is_refused_and_another_length_is_noted(tmp_path, capsys):
    out = ['--out', str(tmp_path / 'run')]
    assert main([*TINY, *out, '--steps', '9', '--stop-after', '1']) == 0
    assert main([*TINY, *out, '--steps', '9', '--lr', '5e-4']) == 1
    assert 'lr: 0.001 there, 0.0005 asked for' in ' '.join(capsys.readouterr().err.split())
    assert main([*TINY, *out, '--steps', '2']) == 0
    changed = json.loads((tmp_path / 'run/pretraining.json').read_text())['changed']
    assert changed == [{'at_step': 1, 'steps_before': 9, 'steps_after': 2}]


def test_a_cut_temporary_file_harms_nothing(tmp_path):
    out = tmp_path / 'run'
    assert main([*TINY, '--out', str(out), '--steps', '9', '--stop-after', '1']) == 0
    before = tensors(out / CHECKPOINT)
    (out / f'{CHECKPOINT}.tmp').write_bytes(b'cut')
    assert main([*TINY, '--out', str(out), '--steps', '9', '--stop-after', '1']) == 0
    after = tensors(out / CHECKPOINT)
    name = 'model/model.language_model.layers.0.mlp.up_proj.weight'
    assert not torch.equal(before[name], after[name])
    assert int(after[name.replace('model/', 'optimizer/step/', 1)]) == 2


def test_a_start_from_scratch_is_a_function_of_the_seed():
    a, b, c = (MiniModel.start('llava', None, seed=seed, freeze_vision=False, device='cpu') for seed in (1, 1, 2))
    name = 'model.multi_modal_projector.linear_1.weight'
    values = [dict(model.trainable())[name] for model in (a, b, c)]
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])
    assert a.origin == 'scratch'


def test_worker_processes_draw_the_same_batches():
    def batches(workers):
        with Stream({'gqa': 1.0, 'textvqa': 1.0}, seed=3, batch_size=4, workers=workers) as stream:
            return list(stream.steps(5, 12))

    for ours, theirs in zip(batches(0), batches(2), strict=True):
        assert (ours.human, ours.answers) == (theirs.human, theirs.answers)
        assert (ours.pixels == theirs.pixels).all()


@pytest.mark.parametrize(('pairs', 'message'), [(['gqqa=1'], "Did you mean 'gqa'"), (['gqa'], 'KIND=WEIGHT')])
def test_a_wrong_mix_is_refused(pairs, message):
    with pytest.raises(ConfigError, match=message):
        read_mix(pairs)


def test_a_folder_without_weights_is_refused(tmp_path, capsys):
    assert main(['--init', str(tmp_path), '--out', str(tmp_path / 'out'), '--steps', '1']) == 2
    assert 'model.safetensors' in capsys.readouterr().err


@pytest.mark.parametrize(('said', 'right'), [
    ('it is at [0.10,0.10,0.50,0.50] in the image.', True), ('it is at [0.12,0.10,0.50,0.50] in the image.', True),
    ('it is at [0.40,0.40,0.80,0.80] in the image.', False), ('at [0.10,0.10,0.50,0.50].', False)])
def test_boxes_are_right_within_iou(said, right):
    assert is_right(said, 'it is at [0.10,0.10,0.50,0.50] in the image.') is right


def test_the_shipped_folder_loads_whole_and_its_prompt_fits():
    from transformers import AutoTokenizer, LlavaForConditionalGeneration

    model, info = LlavaForConditionalGeneration.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(info.values())
    assert model.lm_head.weight.data_ptr() == model.model.language_model.embed_tokens.weight.data_ptr()
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 16 * 2 ** 20
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    prompt = MiniModel(model, FOLDER, origin='', freeze_vision=True, device='cpu').prompt
    ids = prompt.human('what is it?')
    assert ids[:65] == [1] + [model.config.image_token_id] * 64
    assert tokenizer.decode(ids[65:]) == 'USER: what is it? ASSISTANT:'
    assert prompt.answer('[0.25]')[-1] == 2
