"""Qwen-VL against the published code's outputs on tiny weights, and against its full-size names and shapes."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from coinkit.backbones.pixels import PixelReader
from coinkit.backbones.qwen_vl.configuration import QwenVLConfig
from coinkit.backbones.qwen_vl.modeling import QwenVLForConditionalGeneration

CASES = ('case1_two_images_padded', 'case2_text_only_padded', 'case3_ntk_logn')
ALLOWED = 1e-4


@pytest.fixture(params=[(case, attn) for case in CASES for attn in ('sdpa', 'eager')], ids='-'.join)
def loaded(request, golden, golden_io):
    case, attn = request.param
    return model_of(golden, case, attn), golden_io[case]


def model_of(golden, case, attn='sdpa'):
    config = QwenVLConfig(**json.loads((golden / f'{case}.config.json').read_text()))
    model = QwenVLForConditionalGeneration._from_config(config, attn_implementation=attn)
    model.load_state_dict(load_file(golden / 'weights.safetensors'), strict=True)
    return model.eval()


def inputs(io, *names):
    return {name: io[name] for name in ('input_ids', 'attention_mask', 'pixel_values', *names) if name in io}


def difference(found, wanted, io):
    return (found - wanted)[io['attention_mask'].bool()].abs().max().item()


def test_eval_and_train_outputs(loaded):
    model, io = loaded
    with torch.no_grad():
        found = model(**inputs(io, 'labels'))
        assert difference(found.logits, io['logits_eval'], io) < ALLOWED
        assert abs(found.loss - io['loss_eval']).item() < ALLOWED
        model.train()
        found = model(**inputs(io, 'labels'))
    assert difference(found.logits, io.get('logits_train', io['logits_eval']), io) < ALLOWED
    assert abs(found.loss - io['loss_train']).item() < ALLOWED


def test_gradients(loaded):
    model, io = loaded
    model.train()(**inputs(io, 'labels')).loss.backward()
    names = [name for name in io if name.startswith('grad.')]
    assert len(names) == 2
    for name in names:
        found = model.get_parameter(name.removeprefix('grad.')).grad
        assert (found - io[name]).abs().max() < ALLOWED


def test_image_features(loaded):
    model, io = loaded
    if 'image_features' in io:
        with torch.no_grad():
            assert (model.transformer.visual(io['pixel_values']) - io['image_features']).abs().max() < ALLOWED


def test_pixels(golden, golden_io):
    reader = PixelReader(112, aspect_ratio='stretch')
    found = [reader(Image.open(golden / f'img{number}.png')) for number in (1, 0, 0)]
    assert (torch.stack(found) - golden_io['case1_two_images_padded']['pixel_values']).abs().max() < 1e-5


@pytest.mark.parametrize('use_cache', [True, False])
def test_greedy_ids(loaded, use_cache):
    model, io = loaded
    length = int(io['attention_mask'][0].sum())
    row = {'input_ids': io['input_ids'][:1, :length], 'attention_mask': io['attention_mask'][:1, :length]}
    if 'pixel_values' in io:
        row['pixel_values'] = io['pixel_values'][:int((row['input_ids'] == 300).sum())]
    found = model.generate(**row, max_new_tokens=12, do_sample=False, use_cache=use_cache)
    assert found[0, length:].tolist() == io['greedy_ids_row0' if use_cache else 'greedy_ids_row0_nocache'].tolist()


def test_beams_follow_the_cache(golden, golden_io):
    io, model = golden_io['case3_ntk_logn'], model_of(golden, 'case3_ntk_logn')
    found = model.generate(**inputs(io), max_new_tokens=4, num_beams=2, do_sample=False)
    assert found.shape == (1, io['input_ids'].shape[1] + 4)


def test_training_after_a_long_evaluation_uses_the_plain_base(golden, golden_io):
    io, model = golden_io['case3_ntk_logn'], model_of(golden, 'case3_ntk_logn')
    with torch.no_grad():
        model(**inputs(io))
        found = model.train()(**inputs(io))
    assert difference(found.logits, io['logits_train'], io) < ALLOWED


def test_path_bytes_name_pictures_only(golden, golden_io):
    io, model = golden_io['case1_two_images_padded'], model_of(golden, 'case1_two_images_padded')
    ids = io['input_ids'].clone()
    start = int((ids[0] == 300).nonzero()[0])
    ids[0, start + 1:start + 257] = 7
    with torch.no_grad():
        found = model(**inputs(io) | {'input_ids': ids})
    assert difference(found.logits, io['logits_eval'], io) < ALLOWED


@pytest.mark.parametrize('change, said', [
    (lambda row: {'input_ids': row['input_ids'][:, :200], 'attention_mask': row['attention_mask'][:, :200]}, 'one is cut'),
    (lambda row: {'pixel_values': row['pixel_values'][:2]}, 'hold 3 pictures, pixel_values 2'),
    (lambda row: {'pixel_values': None}, 'hold 3 pictures, pixel_values 0'),
    (lambda row: {'pixel_values': row['pixel_values'][..., :56]}, r'expected pictures of \[3, 112, 112\]'),
])
def test_pictures_that_do_not_fit_the_ids(golden, golden_io, change, said):
    row = inputs(golden_io['case1_two_images_padded'])
    with pytest.raises(ValueError, match=said):
        model_of(golden, 'case1_two_images_padded')(**row | change(row))


def test_a_foreign_cache_is_refused(golden):
    from transformers import DynamicCache

    with pytest.raises(ValueError, match='QwenVLCache'):
        model_of(golden, 'case2_text_only_padded')(input_ids=torch.ones(1, 3, dtype=torch.long),
                                                   past_key_values=DynamicCache(), use_cache=True)


@pytest.mark.parametrize('length, alpha', [(1, 1), (2048, 1), (2049, 3), (4096, 3), (4097, 7), (8192, 7), (8193, 15)])
def test_ntk_steps(length, alpha):
    from coinkit.backbones.qwen_vl.positions import ntk_steps

    step = int(ntk_steps(torch.tensor([length]), 2048))
    assert 2 ** (step + 1) - 1 == alpha == max(2 ** math.ceil(math.log2(length / 2048) + 1) - 1, 1)


def test_full_size_names_and_shapes(golden):
    wanted = json.loads((golden / 'full_size_keys.json').read_text())
    with torch.device('meta'):
        model = QwenVLForConditionalGeneration(QwenVLConfig())
    found = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == {name: list(shape) for name, shape in wanted.items()}
    assert len(found) == 853
    assert sum(math.prod(shape) for shape in found.values()) == pytest.approx(9.657e9, rel=1e-3)
    assert not any(name.endswith('pos_embed') for name, _ in model.named_parameters())  # stored, never trained


@pytest.mark.parametrize('change', [{'kv_channels': 32}, {'no_bias': False}, {'rotary_pct': 0.5},
                                    {'visual': {'output_dim': 64}}, {'visual': {'n_queries': 200}}])
def test_sizes_that_do_not_fit(change):
    with pytest.raises(ValueError, match='config.json'):
        QwenVLConfig(**change)
