"""LLaVA's forms: what is missing or of another kind is said at once; a hub copy's appended tokens; saving; full size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.llava import Llava
from coinkit.backbones.llava.names import model_name
from coinkit.errors import CoinkitError, ConfigError

GOLDEN = Path(__file__).parents[2] / 'golden'


def said(**config) -> str:
    return '\n'.join(map(str, Llava.preflight(**{key: str(value) if isinstance(value, Path) else value
                                                 for key, value in config.items()})))


@pytest.fixture
def own(parts, tmp_path):
    """The three parts as copies that a test may break."""
    for path in parts.values():
        (shutil.copytree if Path(path).is_dir() else shutil.copy)(path, tmp_path / Path(path).name)
    return {name: tmp_path / Path(path).name for name, path in parts.items()}


@pytest.fixture
def original(original_folder, tmp_path):
    return shutil.copytree(original_folder, tmp_path / 'original')


def edit(file: Path, **changes) -> None:
    config = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in (config | changes).items() if value is not None}))


def logits_of(golden, **config) -> torch.Tensor:
    model = Llava(**{key: str(value) for key, value in config.items()}, dtype='float32', device='cpu').model
    batch = {name: golden[name] for name in ('input_ids', 'attention_mask')}
    return model(**batch, pixel_values=golden['images']).logits


@pytest.fixture(scope='module')
def golden():
    return load_file(GOLDEN / 'llava15' / 'forward.io.safetensors')


# --- what is wrong is said before anything is read ----------------------------------------------------------------


def test_good_parts_have_no_problems(forms):
    for config in forms.values():
        assert said(**config) == ''


def test_a_language_model_alone(own):
    text = said(checkpoint=own['checkpoint'])
    for words in ('backbone.vision_tower: ', 'a language model alone, holds no vision tower', 'backbone.projector: ',
                  'openai/clip-vit-large-patch14-336', 'mm_projector.bin'):
        assert words in text
    with pytest.raises(ConfigError, match='2 problems'):
        Llava(str(own['checkpoint']))


def test_an_original_folder_without_its_tower(original, own, golden):
    tensors = load_file(original / 'weights.safetensors')
    save_file({name: one for name, one in tensors.items() if 'vision_tower' not in name}, original / 'weights.safetensors')
    assert 'holds no vision tower' in said(checkpoint=original)
    assert said(checkpoint=original, vision_tower=own['vision_tower']) == ''
    got = logits_of(golden, checkpoint=original, vision_tower=own['vision_tower'])
    assert (got - golden['logits']).abs().max() < 1e-4


def test_everything_wrong_with_the_parts_at_once(own):
    (own['checkpoint'] / 'pytorch_model-00002-of-00003.bin').unlink()
    (own['checkpoint'] / 'tokenizer.model').unlink()
    (own['vision_tower'] / 'pytorch_model.bin').unlink()
    text = said(**own | {'projector': own['checkpoint'] / 'none.bin', 'dtype': 'fp8'})
    for words in ('lacks pytorch_model-00002-of-00003.bin, named by its index', 'no tokenizer', 'clip\' has no weights',
                  "none.bin' is not a file", "unknown dtype 'fp8'"):
        assert words in text


@pytest.mark.parametrize('given, words', [
    (lambda own: {'vision_tower': own['checkpoint']}, 'looks like a language model alone (Vicuna, Llama), expected CLIP'),
    (lambda own: {'vision_tower': own['projector'].parent / 'no'}, 'does not exist'),
    (lambda own: {'projector': own['vision_tower'] / 'pytorch_model.bin'}, 'holds no tensor named mm_projector'),
    (lambda own: {'checkpoint': own['projector']}, "this looks like LLaVA's projector alone"),
    (lambda own: {'checkpoint': own['vision_tower']}, 'this looks like a CLIP model alone'),
])
def test_parts_in_the_wrong_place(own, given, words):
    assert words in said(**own | given(own))


def test_hub_folders_have_their_own_parts(tiny_llava_folder, own):
    text = said(**own | {'checkpoint': tiny_llava_folder})
    assert text.count('is in hub format and has its own. Leave this out.') == 2


@pytest.mark.parametrize('field, value', [
    ('mm_use_im_start_end', True), ('mm_use_im_patch_token', True), ('mm_projector_type', 'linear'),
    ('mm_patch_merge_type', 'spatial_unpad'), ('mm_vision_select_feature', 'all')])
def test_other_llavas_are_refused(original, field, value):
    edit(original / 'config.json', **{field: value})
    assert f'config.json: {field}: {value!r} is not supported' in said(checkpoint=original)


@pytest.mark.parametrize('word, ratio', [('pad', 'pad'), ('square', 'crop'), (None, 'pad')])
def test_the_configs_word_on_pictures(original, word, ratio, tmp_path):
    edit(original / 'config.json', image_aspect_ratio=word)
    backbone = Llava(str(original), dtype='float32', device='cpu')
    assert backbone.samples.read_pixels.aspect_ratio == ratio
    backbone.save(tmp_path / 'saved')
    assert Llava(str(tmp_path / 'saved'), device='meta').samples.read_pixels.aspect_ratio == ratio
    given = Llava(str(original), device='meta', image_aspect_ratio='stretch')
    assert given.samples.read_pixels.aspect_ratio == 'stretch'


def test_tiles_are_refused(original):
    edit(original / 'config.json', image_aspect_ratio='anyres')
    assert "config.json: image_aspect_ratio: 'anyres' is not supported. Give backbone.image_aspect_ratio: pad" in said(
        checkpoint=original)
    assert said(checkpoint=original, image_aspect_ratio='pad') == ''


def test_a_single_linear_as_projector(own):
    torch.save({'model.mm_projector.weight': torch.zeros(64, 32), 'model.mm_projector.bias': torch.zeros(64)},
               own['projector'])
    assert 'holds a single linear as projector' in said(**own)


def test_the_projectors_config_counts_for_a_language_model(own, golden):
    folder = own['projector'].parent / 'stage1'
    folder.mkdir()
    shutil.move(own['projector'], folder)
    (folder / 'config.json').write_text('{"model_type": "llava", "mm_vision_select_layer": -1}')
    assert said(**own | {'projector': folder}) == ''
    last = logits_of(golden, **own | {'projector': folder})
    assert (last - golden['logits']).abs().max() > 1e-2  # another layer than the golden one
    edit(folder / 'config.json', mm_vision_select_layer=-2)
    assert (logits_of(golden, **own | {'projector': folder}) - golden['logits']).abs().max() < 1e-4


def test_class_token_kept(original, golden):
    edit(original / 'config.json', mm_vision_select_feature='cls_patch')
    backbone = Llava(str(original), dtype='float32', device='cpu')
    assert backbone.samples.tokens_per_image == 17
    features = backbone.features(golden['images'])
    assert torch.allclose(features[:, 1:], golden['projected'], atol=1e-4)


# --- tensors ------------------------------------------------------------------------------------------------------


def test_wrong_tensors_of_the_parts_are_named(own):
    tower = torch.load(own['vision_tower'] / 'pytorch_model.bin', weights_only=True)
    del tower['vision_model.pre_layrnorm.bias']
    tower['vision_model.encoder.extra'] = torch.zeros(2)
    torch.save(tower, own['vision_tower'] / 'pytorch_model.bin')
    projector = torch.load(own['projector'], weights_only=True)
    projector['base_model.model.mm_projector.2.bias'] = torch.zeros(3)
    torch.save(projector, own['projector'])
    with pytest.raises(ConfigError) as caught:
        Llava(**{key: str(value) for key, value in own.items()}, dtype='float32', device='cpu')
    assert [problem.message.split(': ', 1)[1] for problem in caught.value.problems] == [
        'missing tensors: model.vision_tower.pre_layrnorm.bias.',
        'tensors the model does not have: model.vision_tower.encoder.extra.',
        'tensors of another shape: model.multi_modal_projector.linear_2.bias is [3], expected [64].']


@pytest.mark.parametrize('part', ['projector', 'vision_tower', 'checkpoint'])
def test_truncated_parts(own, part):
    path = own[part]
    file = path if path.is_file() else sorted(path.glob('*.bin'))[0]
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CoinkitError, match=f'{file.name}.* cannot be read'):
        Llava(**{key: str(value) for key, value in own.items()}, dtype='float32', device='cpu')


# --- a hub copy with appended tokens ------------------------------------------------------------------------------


@pytest.fixture
def hub_copy(tiny_llava_folder, tmp_path):
    """As llava-hf's: first names, <image> and <pad> appended to the tokenizer, rows filled up with others."""
    folder = shutil.copytree(tiny_llava_folder, tmp_path / 'hub')
    tensors = {}
    for name, one in load_file(folder / 'model.safetensors').items():
        if name.endswith(('embed_tokens.weight', 'lm_head.weight')):
            one = torch.cat([one, torch.full((14, 64), 3.0)])
        for new, old in (('model.language_model.', 'language_model.model.'), ('lm_head.', 'language_model.lm_head.'),
                         ('model.vision_tower.', 'vision_tower.vision_model.'), ('model.multi', 'multi')):
            name = old + name.removeprefix(new) if name.startswith(new) else name
        tensors[name] = one
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
    config = json.loads((folder / 'config.json').read_text())
    config |= {'image_token_index': 562, 'pad_token_id': 563}
    config['text_config'] |= {'vocab_size': 576}
    (folder / 'config.json').write_text(json.dumps(config))
    from transformers import LlamaTokenizer

    tokenizer = LlamaTokenizer.from_pretrained(str(folder), legacy=False, add_bos_token=True)
    tokenizer.add_special_tokens({'pad_token': '<pad>', 'additional_special_tokens': ['<image>']})
    tokenizer.save_pretrained(str(folder))
    (folder / 'tokenizer.model').unlink()
    return folder


def test_appended_tokens_are_left_out(hub_copy, golden, tmp_path):
    assert (logits_of(golden, checkpoint=hub_copy) - golden['logits']).abs().max() < 1e-4
    backbone = Llava(str(hub_copy), dtype='float32', device='cpu')
    assert backbone.describe()['vocabulary'] == backbone.model.lm_head.weight.shape[0] == 562
    assert max(backbone.codec.encode('a <pad> and <image></s>')) < 562
    backbone.save(tmp_path / 'saved')
    assert torch.equal(logits_of(golden, checkpoint=tmp_path / 'saved'), logits_of(golden, checkpoint=hub_copy))


# --- saving, full size --------------------------------------------------------------------------------------------


def test_parts_saved_are_one_stock_folder(parts, golden, tmp_path):
    from transformers import LlavaForConditionalGeneration

    backbone = Llava(**parts, dtype='float32', device='cpu')
    backbone.save(tmp_path)
    assert torch.equal(logits_of(golden, checkpoint=tmp_path), logits_of(golden, **parts))
    assert json.loads((tmp_path / 'config.json').read_text())['architectures'] == ['LlavaForConditionalGeneration']
    stock = LlavaForConditionalGeneration.from_pretrained(str(tmp_path), dtype='float32')
    assert type(stock) is not type(backbone.model)
    for (name, ours), (same, theirs) in zip(backbone.model.named_parameters(), stock.named_parameters(), strict=True):
        assert name == same and torch.equal(ours, theirs)


def test_saving_into_its_own_folder(original, golden):
    wanted = logits_of(golden, checkpoint=original)
    backbone = Llava(str(original), dtype='float32', device='cpu')
    backbone.save(original)  # its weights are still mapped from the old file
    assert torch.equal(logits_of(golden, checkpoint=original), wanted)


def test_every_tensor_of_the_full_size(original):
    full = json.loads((GOLDEN / 'llava15' / 'full_size_keys.json').read_text())
    edit(original / 'config.json', vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
         num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096, vision_config=None,
         image_processor=None, mm_vision_tower='openai/clip-vit-large-patch14-336')
    (original / 'weights.safetensors').unlink()
    index = {'weight_map': {entry['official']: 'pytorch_model-00001-of-00001.bin' for entry in full.values()}}
    (original / 'pytorch_model.bin.index.json').write_text(json.dumps(index))
    (original / 'pytorch_model-00001-of-00001.bin').touch()  # named, never read
    shapes = {name: list(one.shape) for name, one in Llava(str(original), device='meta').model.state_dict().items()}
    assert shapes == {name: entry['shape'] for name, entry in full.items()}
    assert {model_name(entry['official']): entry['shape'] for entry in full.values()} == shapes
    assert len(full) == 686


def test_which_folder_other_software_loads(tiny_llava_folder, parts, original_folder):
    def named(**config):
        return Llava(**config, device='meta').base_model

    assert named(checkpoint=str(tiny_llava_folder)) == str(tiny_llava_folder)
    assert named(checkpoint='mini').endswith('mini/llava')
    assert named(**parts) == named(checkpoint=str(original_folder)) == ''  # no folder yet: export the merged model


@pytest.mark.parametrize('name, arguments', [
    ('llava_1_5_7b', {'vision_tower'}), ('llava_1_5_13b', {'vision_tower'}),
    ('llava_1_5_7b_pretrain', {'vision_tower', 'projector'}), ('llava_1_5_13b_pretrain', {'vision_tower', 'projector'})])
def test_shipped_configs(name, arguments):
    file = Path(__file__).parents[3] / 'configs' / '_base_' / 'backbones' / f'{name}.py'
    backbone = {}
    exec(file.read_text(), backbone)
    block = dict(backbone['backbone'])
    mini = block | block.pop('mini')
    assert {key for key in ('vision_tower', 'projector') if key in block} == arguments
    assert said(**{key: value for key, value in mini.items() if key not in ('type', 'mini')}) == ''
    assert 'folder \'checkpoints/' in said(**{key: value for key, value in block.items() if key != 'type'})
