"""Checkpoint folders: what is wrong with one is said before or at loading, by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.llava import Llava
from coinkit.backbones.loading import choose_attention
from coinkit.backbones.text_codec import read_codec
from coinkit.errors import CoinkitError, ConfigError


@pytest.fixture
def folder(tiny_llava_folder, tmp_path):
    return shutil.copytree(tiny_llava_folder, tmp_path / 'copy')


def said(checkpoint, **config) -> str:
    return '\n'.join(map(str, Llava.preflight(checkpoint=str(checkpoint), **config)))


def test_good_folders_have_no_problems(folder):
    assert said(folder) == '' == said('mini', dtype='float32', template=None)


def test_missing_folder_says_where_weights_come_from_and_what_runs_without():
    text = said('no/such/folder')
    for words in ("backbone.checkpoint: folder 'no/such/folder' does not exist", 'llava-hf/llava-1.5-7b-hf',
                  'liuhaotian/llava-v1.5-7b', 'lmsys/vicuna-7b-v1.5', '--mini'):
        assert words in text
    with pytest.raises(ConfigError, match='does not exist'):
        Llava('no/such/folder')


@pytest.mark.parametrize('config, words', [
    ({'model_type': 'qwen2_vl'}, "this looks like Qwen2-VL, use type='Qwen2VL'"),
    ({'model_type': 'llama'}, 'a language model alone, holds no vision tower'),
    ({'model_type': 'gpt2'}, "this looks like a model of type 'gpt2'"),
])
def test_other_kinds_are_recognised(folder, config, words):
    (folder / 'config.json').write_text(json.dumps(config))
    assert words in said(folder)


@pytest.mark.parametrize('removed, words', [
    ('config.json', 'has no config.json'), ('model.safetensors', 'has no weights'),
    ('tokenizer.model', 'has no tokenizer.json or tokenizer.model'),
])
def test_missing_files(folder, removed, words):
    (folder / removed).unlink()
    assert words in said(folder)


def test_everything_wrong_is_said_at_once(folder):
    (folder / 'model.safetensors').unlink()
    (folder / 'tokenizer.model').unlink()
    text = said(folder, dtype='fp32', template='vicuna', image_aspect_ratio='square', attn='flash_attention')
    for words in ('no weights', 'no tokenizer', "unknown dtype 'fp32'", "Did you mean 'vicuna_v1'?",
                  "unknown image_aspect_ratio 'square'", "Did you mean 'flash_attention_2'?"):
        assert words in text


@pytest.fixture
def apart(original_folder, tmp_path):
    """An original folder with its projector in mm_projector.bin alone."""
    folder = shutil.copytree(original_folder, tmp_path / 'original')
    tensors = load_file(folder / 'weights.safetensors')
    projector = {name: tensors.pop(name) for name in list(tensors) if 'mm_projector' in name}
    save_file(tensors, folder / 'weights.safetensors', metadata={'format': 'pt'})
    torch.save(projector, folder / 'mm_projector.bin')
    return folder


def test_an_original_folder_with_its_projector_apart(apart, original_folder):
    assert said(apart) == ''
    whole, found = (Llava(str(one), dtype='float32', device='cpu').model.state_dict() for one in (original_folder, apart))
    assert whole.keys() == found.keys() and all(torch.equal(whole[name], found[name]) for name in whole)


@pytest.mark.parametrize('content, words', [
    (None, 'holds no projector'), ({'other.weight': torch.zeros(2)}, 'mm_projector.bin. holds no tensor named mm_projector'),
    ({'model.mm_projector.weight': torch.zeros(2)}, 'mm_projector.bin. holds a single linear')])
def test_a_projector_apart_that_is_none(apart, content, words):
    (apart / 'mm_projector.bin').unlink()
    if content:
        torch.save(content, apart / 'mm_projector.bin')
    with pytest.raises(ConfigError, match=words):
        Llava(str(apart), dtype='float32', device='cpu')


def test_missing_shards_are_named(folder):
    (folder / 'model.safetensors').unlink()
    index = {'weight_map': {'a': 'model-00001-of-00002.safetensors', 'b': 'model-00002-of-00002.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    (folder / 'model-00001-of-00002.safetensors').touch()
    assert 'lacks model-00002-of-00002.safetensors, named by its index' in said(folder)


def test_config_that_is_not_json(folder):
    (folder / 'config.json').write_text('{"model_type": "lla')
    assert 'config.json: is not JSON' in said(folder)


def test_wrong_tensors_are_named(folder):
    tensors = load_file(folder / 'model.safetensors')
    del tensors['model.language_model.norm.weight']
    tensors['model.projector.extra'] = torch.zeros(2)
    tensors['lm_head.weight'] = torch.zeros(3, 64)
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConfigError) as caught:
        Llava(str(folder), dtype='float32', device='cpu')
    assert [problem.message.split(': ', 1)[1] for problem in caught.value.problems] == [
        'missing tensors: model.language_model.norm.weight.',
        'tensors the model does not have: model.projector.extra.',
        'tensors of another shape: lm_head.weight is [3, 64], expected [562, 64].']


def test_truncated_weights(folder):
    content = (folder / 'model.safetensors').read_bytes()
    (folder / 'model.safetensors').write_bytes(content[:len(content) // 2])
    with pytest.raises(CoinkitError, match='cannot be read'):
        Llava(str(folder), dtype='float32', device='cpu')


def test_key_mapping_renames(folder):
    wanted = Llava(str(folder), dtype='float32', device='cpu').model.state_dict()
    renamed = {key.replace('multi_modal_projector', 'mm_bridge'): value for key, value in wanted.items()}
    save_file(renamed, folder / 'model.safetensors', metadata={'format': 'pt'})
    loaded = Llava(str(folder), dtype='float32', device='cpu',
                   key_mapping={r'^model\.mm_bridge\.': 'model.multi_modal_projector.'}).model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in wanted.items())


def test_random_weights_need_no_weight_files(folder):
    (folder / 'model.safetensors').unlink()
    before = torch.random.get_rng_state()
    one, two, other = (Llava(str(folder), dtype='float32', device='cpu', init_seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.model.lm_head.weight, two.model.lm_head.weight)
    assert not torch.equal(one.model.lm_head.weight, other.model.lm_head.weight)


def test_legacy_comes_from_the_folder_or_the_argument(folder):
    def first_ids(**options):
        return read_codec(folder, **options).encode('</s>USER:')

    assert first_ids() == first_ids(legacy=False) != first_ids(legacy=True)
    (folder / 'tokenizer_config.json').write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": null}')
    assert first_ids() == first_ids(legacy=True)
    (folder / 'tokenizer_config.json').unlink()  # says nothing: what the libraries of the time took
    assert first_ids() == first_ids(legacy=True)


def test_codec_saves_what_it_reads(folder, tmp_path):
    for legacy in (True, False):
        codec = read_codec(folder, legacy=legacy)
        codec.save(tmp_path)
        again = read_codec(tmp_path)
        for text in ('USER: hi</s>USER: x', '  two spaces', '', '\nline'):
            assert again.encode(text) == codec.encode(text)
        assert again.decode(codec.encode('a dog') + [2]) == 'a dog'


def test_estimate_from_shapes_alone(folder):
    parameters = Llava(str(folder), dtype='float32', device='cpu').describe()['parameters']
    (folder / 'model.safetensors').write_bytes(b'')  # never read
    shapes = Llava(str(folder), dtype='float32', device='meta')
    estimate = shapes.estimate_bytes(training=False, max_length=100, micro_batch_size=3)
    assert estimate['weights'] == 4 * parameters
    assert estimate['kv_cache'] == 300 * 2 * 2 * 64 * 4  # tokens, keys and values, layers, width, bytes
    training = shapes.estimate_bytes(training=True, trained_parameters=1000)
    plain = shapes.estimate_bytes(training=True, trained_parameters=1000, gradient_checkpointing=False)
    assert training['optimizer'] == 16000 and training['activations'] < plain['activations']
    assert training['total'] == sum(value for key, value in training.items() if key != 'total')


def test_estimate_of_the_real_size(folder):
    config = json.loads((folder / 'config.json').read_text())
    config['text_config'] = {'model_type': 'llama', 'vocab_size': 32000, 'max_position_embeddings': 4096}
    config['vision_config'] |= dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
                                    num_attention_heads=16, patch_size=14, image_size=336, projection_dim=768)
    (folder / 'config.json').write_text(json.dumps(config))
    weights = Llava(str(folder), device='meta').estimate_bytes(training=False)['weights']
    assert abs(weights - 2 * 7.063e9) < 2e7


def test_attention_choice(monkeypatch):
    cpu, gpu = torch.device('cpu'), torch.device('cuda')
    assert choose_attention('eager', gpu, torch.bfloat16) == 'eager'
    assert choose_attention('auto', cpu, torch.bfloat16) == 'sdpa'
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    assert choose_attention('auto', gpu, torch.bfloat16) == 'flash_attention_2'
    assert choose_attention('auto', gpu, torch.float32) == 'sdpa'
