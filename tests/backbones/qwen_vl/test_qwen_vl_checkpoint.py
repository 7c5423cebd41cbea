"""Qwen-VL folders: read by their own names, in every published form; what is wrong with one is said by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.qwen_vl import QwenVL
from coinkit.errors import CoinkitError, ConfigError
from coinkit.registry import BACKBONES


def built(folder, **config):
    return BACKBONES.build(dict(type='QwenVL', checkpoint=str(folder), dtype='float32', device='cpu', **config))


def said(checkpoint, **config) -> str:
    return '\n'.join(map(str, QwenVL.preflight(checkpoint=str(checkpoint), **config)))


def outputs(backbone, io):
    with torch.no_grad():
        return backbone.model(input_ids=io['input_ids'], attention_mask=io['attention_mask'],
                              pixel_values=io['pixel_values'], labels=io['labels'])


@pytest.fixture
def io(golden_io):
    return golden_io['case3_ntk_logn']


def as_it_is(folder):
    return folder


def as_any_safetensors(folder):
    (folder / 'model.safetensors').rename(folder / 'weights.safetensors')


def as_pickled(folder):
    torch.save(load_file(folder / 'model.safetensors'), folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()


def as_shards(folder):
    tensors = load_file(folder / 'model.safetensors')
    names = sorted(tensors)
    files = {f'pytorch_model-0000{number}-of-00003.bin': names[number - 1::3] for number in (1, 2, 3)}
    for file, part in files.items():
        torch.save({name: tensors[name] for name in part}, folder / file)
    index = {'metadata': {}, 'weight_map': {name: file for file, part in files.items() for name in part}}
    (folder / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    (folder / 'model.safetensors').unlink()


@pytest.mark.parametrize('change', [as_it_is, as_any_safetensors, as_pickled, as_shards])
def test_published_forms(golden_folder, io, change):
    change(golden_folder)
    found = outputs(built(golden_folder), io)
    assert (found.logits - io['logits_eval']).abs().max() < 1e-4
    assert abs(found.loss - io['loss_eval']) < 1e-4


def test_saved_and_loaded_again(golden_folder, io, tmp_path):
    first = built(golden_folder, template='coin', picture='Picture {}:', boxes='coin')
    first.save(tmp_path / 'saved')
    second = built(tmp_path / 'saved')
    assert torch.equal(outputs(first, io).logits, outputs(second, io).logits)
    assert (second.template_name, second.samples.template, second.boxes) == ('coin', first.samples.template, 'coin')
    assert second.codec.ranks == first.codec.ranks
    assert load_file(tmp_path / 'saved' / 'model.safetensors').keys() == \
        load_file(golden_folder / 'model.safetensors').keys()


def test_wrong_tensors_are_named(golden_folder):
    tensors = load_file(golden_folder / 'model.safetensors')
    del tensors['transformer.ln_f.weight'], tensors['transformer.visual.attn_pool.pos_embed']
    tensors['transformer.h.7.ln_1.weight'] = torch.zeros(2)
    tensors['lm_head.weight'] = torch.zeros(3, 128)
    save_file(tensors, golden_folder / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConfigError) as caught:
        built(golden_folder)
    for words in ('missing tensors: transformer.ln_f.weight, transformer.visual.attn_pool.pos_embed',
                  'tensors the model does not have: transformer.h.7.ln_1.weight',
                  'tensors of another shape: lm_head.weight is [3, 128], expected [320, 128]'):
        assert words in str(caught.value)


def test_truncated_file(golden_folder):
    file = golden_folder / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(CoinkitError, match='cannot be read'):
        built(golden_folder)


def test_missing_shard(golden_folder):
    as_shards(golden_folder)
    (golden_folder / 'pytorch_model-00002-of-00003.bin').unlink()
    assert 'lacks pytorch_model-00002-of-00003.bin' in said(golden_folder)


@pytest.mark.parametrize('config, words', [
    ({'model_type': 'qwen2_vl'}, "this looks like Qwen2-VL, use type='Qwen2VL'"),
    ({'model_type': 'qwen'}, 'this looks like Qwen, a language model without pictures'),
    ({'model_type': 'qwen', 'visual': {}, 'quantization_config': {'bits': 4}}, 'weights that are quantised already'),
    ({'hidden_size': 8}, "model_type None, expected 'qwen'"),
])
def test_other_folders_are_recognised(golden_folder, config, words):
    (golden_folder / 'config.json').write_text(json.dumps(config))
    assert words in said(golden_folder)


@pytest.mark.parametrize('removed, words', [
    ('config.json', 'has no config.json'), ('model.safetensors', 'has no weights'),
    ('qwen.tiktoken', 'needs qwen.tiktoken or one other .tiktoken file')])
def test_missing_files(golden_folder, removed, words):
    (golden_folder / removed).unlink()
    assert words in said(golden_folder)


def test_sizes_that_do_not_fit_are_said_with_the_file(golden_folder):
    config = json.loads((golden_folder / 'config.json').read_text()) | {'kv_channels': 32}
    (golden_folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match='config.json: does not describe a usable model.*kv_channels 32'):
        built(golden_folder)


def test_everything_wrong_is_said_at_once():
    text = said('no/such/folder', dtype='fp32', template='chat', boxes='minigpt', picture='Picture:', attn='flash')
    for words in ("folder 'no/such/folder' does not exist", 'Qwen/Qwen-VL-Chat', "unknown dtype 'fp32'", "unknown boxes",
                  "unknown template 'chat'", "'Picture:' has no place", "unknown attn 'flash'"):
        assert words in text


def test_a_vocabulary_cut_at_the_end_of_a_line(small_folder, tmp_path):
    """Every line of it is whole, but all special ids would be others than the model was trained with."""
    folder = shutil.copytree(small_folder, tmp_path / 'cut')
    lines = (folder / 'qwen.tiktoken').read_bytes().splitlines(keepends=True)
    (folder / 'qwen.tiktoken').write_bytes(b''.join(lines[:-10]))
    with pytest.raises(ConfigError, match=r'qwen.tiktoken: has 306 lines.* 520 the id of <img>.*image_start_id 530.* 316 '):
        built(folder)
    (folder / 'qwen.tiktoken').write_bytes(b''.join(lines))
    assert built(folder).codec.special_id('<img>') == 530


def test_vocabulary_of_another_model_is_said_when_it_matters(golden_folder):
    from coinkit.errors import DataError
    from coinkit.types import Query, Turn

    backbone = built(golden_folder)  # its weights alone are of use without the vocabulary
    with pytest.raises(DataError, match='record q: the tokenizer gives id 531, the model embeds 320'):
        backbone.samples.tokens(Query('q', (Picture(),), (Turn('human', 'a'),)), training=False)


class Picture:
    key = 'a'


def test_shapes_only(golden_folder):
    backbone = BACKBONES.build(dict(type='QwenVL', checkpoint=str(golden_folder), device='meta'))
    assert {one.device.type for one in backbone.model.state_dict().values()} == {'meta'}
    assert backbone.describe()['parameters'] == sum(
        one.numel() for one in load_file(golden_folder / 'model.safetensors').values()) - 256 * 128
    training = backbone.estimate_bytes(training=True, trained_parameters=1000)
    assert training['weights'] == 2 * backbone.describe()['parameters'] and training['optimizer'] == 16_000
    assert backbone.decoder_sizes().intermediate == 96
