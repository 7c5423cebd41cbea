"""The pre-training tool: resumed equals uninterrupted, wrong input is named; the shipped weights load as they are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from coinkit.backbones.turns import IMAGE_ID
from coinkit.datasets.mini.dataset import DrawnImage
from coinkit.errors import ConfigError
from coinkit.registry import BACKBONES
from coinkit.types import Sample, Turn
from tools.mini_pretraining.model import ARCHITECTURES, SHIPPED, MiniModel
from tools.mini_pretraining.samples import Stream, draw, is_right
from tools.mini_pretraining.training import CHECKPOINT
from tools.pretrain_mini import main, read_mix

TINY = ['--init', 'shipped', '--freeze-vision', '--batch-size', '2', '--device', 'cpu', '--evaluate', '1', '--mix',
        'caption=0', '--save-every', '1']
# a weight of the frozen tower and one that trains
TENSORS = {'llava': ('model.vision_tower.encoder.layers.0.mlp.fc1.weight',
                     'model.language_model.layers.0.mlp.up_proj.weight'),
           'qwen_vl': ('transformer.visual.transformer.resblocks.0.mlp.c_fc.weight', 'transformer.h.0.mlp.w1.weight'),
           'minigpt_v2': ('visual_encoder.blocks.0.mlp.fc1.weight', 'llama_proj.weight')}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensors(file):
    with safe_open(file, 'pt') as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_a_resumed_run_ends_in_the_same_weights_and_the_folder_loads(arch, tmp_path, capsys):
    start = [*TINY, '--arch', arch, '--steps', '3', '--out']
    assert main([*start, str(tmp_path / 'whole')]) == 0
    assert main([*start, str(tmp_path / 'parts'), '--stop-after', '1']) == 0
    assert not (tmp_path / 'parts/model.safetensors').exists()
    assert main([*start, str(tmp_path / 'parts')]) == 0
    assert 'continuing' in capsys.readouterr().err
    whole, parts = (tmp_path / name for name in ('whole', 'parts'))
    assert (whole / 'model.safetensors').read_bytes() == (parts / 'model.safetensors').read_bytes()
    record = json.loads((whole / 'pretraining.json').read_text())
    assert (record['samples'], record['seed'], record['steps']) == (6, 0, 3)
    assert set(record['held_out_percent']) >= {'caption', 'gqa'} and 'changed' not in record
    shipped, trained = tensors(SHIPPED / arch / 'model.safetensors'), tensors(whole / 'model.safetensors')
    tower, trains = TENSORS[arch]
    assert torch.equal(shipped[tower], trained[tower]) and not torch.equal(shipped[trains], trained[trains])
    backbone = BACKBONES.build(dict(type=ARCHITECTURES[arch].backbone, checkpoint=str(whole), dtype='float32'))
    assert torch.equal(backbone.model.get_parameter(trains), trained[trains].float())


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
            return [sample for batch in stream.steps(5, 12) for sample in batch]

    for ours, theirs in zip(batches(0), batches(2), strict=True):
        assert (ours.id, ours.turns) == (theirs.id, theirs.turns)
        assert ours.images[0].load().tobytes() == theirs.images[0].load().tobytes()


@pytest.mark.parametrize(('kind', 'first'), [
    ('textvqa', 'is what the sign says.'), ('imagenet', 'is the object.'), ('vqav2', 'is the count.'),
    ('grounding', 'is where it is.'), ('ocrvqa', 'is the ')])
def test_a_sentence_can_start_with_the_answer(kind, first):
    seeds = [f'first/{number}' for number in range(4)]
    for plain, turned in zip(draw(seeds, {kind: 1.0}), draw(seeds, {kind: 1.0}, 1.0), strict=True):
        answer = turned.turns[1].text.split(' ')[0]
        assert turned.turns[1].text.startswith(f'{answer} {first}') and answer in plain.turns[1].text
        assert turned.turns[0].text.splitlines()[0] == plain.turns[0].text.splitlines()[0]
        assert turned.turns[0].text.count('\n') == 1
        assert turned.images[0].load().tobytes() == plain.images[0].load().tobytes()
    assert draw(seeds, {'scienceqa': 1.0}, 1.0)[0].turns == draw(seeds, {'scienceqa': 1.0})[0].turns


def test_half_of_the_rows_have_the_prompt_of_evaluation():
    model = MiniModel.start('minigpt_v2', 'shipped', seed=0, freeze_vision=True, device='cpu')
    sample = draw(['one'], {'gqa': 1.0})[0]
    trained, asked = (model._encode(sample, asked=asked) for asked in (False, True))
    assert trained.input_ids_L.tolist().count(1) == 1 and asked.input_ids_L[:2].tolist() == [1, 1]
    answers = [[one for one in row.labels_L.tolist() if one >= 0] for row in (trained, asked)]
    assert answers[0] == answers[1] == model.backbone.codec.encode(sample.turns[1].text + '</s>')
    prompt = model.backbone.encode(replace(sample, turns=sample.turns[:1]), training=False)
    assert asked.input_ids_L.tolist()[:-len(answers[0])] == prompt.input_ids_L.tolist()


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


@pytest.mark.parametrize(('arch', 'prompt'), [
    ('llava', '<s>PUSER: what is it? ASSISTANT:'), ('minigpt_v2', '<s><s>[INST] <Img>P</Img> what is it? [/INST]'),
    ('qwen_vl', '<|im_start|>system\n<|im_end|>\n<|im_start|>user\nPicture 1: <img>P</img>\nwhat is it?<|im_end|>\n'
                '<|im_start|>assistant\n')])
def test_the_shipped_folder_loads_whole_and_its_prompt_fits(arch, prompt):
    folder = SHIPPED / arch
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16 * 2 ** 20
    backbone = BACKBONES.build(dict(type=ARCHITECTURES[arch].backbone, checkpoint='mini', dtype='float32'))
    picture = DrawnImage('black', Image.new('RGB', (64, 64)))
    encoded = backbone.encode(Sample('one', '', (picture,), (Turn('human', 'what is it?'),)), training=False)
    ids = encoded.input_ids_L.tolist()
    first, last = ids.index(IMAGE_ID), len(ids) - ids[::-1].index(IMAGE_ID)
    parts = [backbone.codec.backend.decode(part, skip_special_tokens=False) for part in (ids[:first], ids[last:])]
    assert 'P'.join(parts) == prompt
    assert set(ids[first:last]) == {IMAGE_ID} and last - first == 64
