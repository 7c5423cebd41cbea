"""The generic backbone: which folders it takes, and what it says about the others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.hf_vision_language import HFVisionLanguage
from coinkit.backbones.processors import Processor, without_video
from coinkit.errors import ConfigError, DataError
from tests.backbones.tiny_transformers import CHAT, MIXED, Plain, batch_of, load, official, prefix_states, sample


@pytest.fixture
def copy_of(folder_of, tmp_path):
    """A copy of a folder, to be broken."""
    def copy(kind: str):
        return shutil.copytree(folder_of(kind), tmp_path / kind)
    return copy


def problems(folder, **config) -> list[str]:
    return [str(problem) for problem in HFVisionLanguage.preflight(str(folder), **config)]


def test_reads_what_has_a_type_of_its_own(folder_of, backbone_of):
    own, generic = backbone_of('qwen3_vl'), HFVisionLanguage(str(folder_of('qwen3_vl')), dtype='float32', device='cpu')
    batch, twin = batch_of(own, MIXED), batch_of(generic, MIXED)
    assert torch.equal(own.forward(batch).logits_NV, generic.forward(twin).logits_NV)
    assert generic.prompt_length(sample('what?')) == own.prompt_length(sample('what?'))


def test_a_hub_name_whose_files_are_here(folder_of, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    [missing] = problems('someone/tiny')
    assert missing.startswith("backbone.checkpoint: folder 'someone/tiny' does not exist, and the local hub cache has no")
    repository = tmp_path / 'models--someone--tiny'
    shutil.copytree(folder_of('internvl'), repository / 'snapshots' / 'abc')
    (repository / 'refs').mkdir()
    (repository / 'refs' / 'main').write_text('abc')
    assert problems('someone/tiny') == []


def test_all_that_is_missing_is_said_at_once(copy_of):
    folder = copy_of('internvl')
    for name in ('model.safetensors', 'preprocessor_config.json', 'tokenizer.json', 'chat_template.jinja'):
        (folder / name).unlink()
    found = problems(folder, dtype='float16', lora_scope='everything')
    assert len(found) == 6
    for words in ('dtype', 'lora_scope', 'no weights', 'no preprocessor_config', 'no tokenizer.json', 'no chat template'):
        assert any(words in one for one in found), words
    (folder / 'config.json').unlink()
    assert problems(folder) == [f"backbone.checkpoint: '{folder}' has no config.json. Download the whole model from the hub "
                                'and give its folder as backbone.checkpoint.']


def test_a_missing_shard(copy_of):
    folder = copy_of('idefics3')
    (folder / 'model.safetensors').unlink()
    index = {'weight_map': {'a': 'model-00002-of-00002.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert 'lacks model-00002-of-00002.safetensors' in problems(folder)[0]


def test_code_that_comes_with_a_folder_is_never_run(copy_of):
    folder = copy_of('internvl')
    config = json.loads((folder / 'config.json').read_text())
    config |= {'model_type': 'internvl_chat', 'auto_map': {'AutoModel': 'modeling.Model'}}
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'modeling.py').write_text('raise SystemExit')
    [found] = problems(folder)
    assert "'internvl_chat'" in found and 'which coinkit never runs' in found and '-hf' in found
    with pytest.raises(ConfigError):
        load(folder)


@pytest.mark.parametrize(('change', 'words'), [
    ({'model_type': 'mllama'}, 'cross-attention'),
    ({'model_type': 'bert'}, "no vision-language model of type 'bert'"),
    ({'text_config': {'model_type': 't5', 'is_encoder_decoder': True}}, 'an encoder with a decoder'),
])
def test_models_that_are_no_causal_decoder(copy_of, change, words):
    folder = copy_of('instructblip')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | change))
    [found] = problems(folder, template='question')
    assert words in found


def test_tensors_that_do_not_fit_are_named(copy_of):
    folder = copy_of('llava_onevision')
    tensors = load_file(folder / 'model.safetensors')
    gone = next(name for name in tensors if name.endswith('0.self_attn.q_proj.weight'))
    short = next(name for name in tensors if name.endswith('1.mlp.down_proj.weight'))
    del tensors[gone]
    tensors[short], tensors['another.weight'] = tensors[short][:4].clone(), torch.zeros(1)
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConfigError) as caught:
        load(folder)
    text = str(caught.value)
    assert 'missing tensors' in text and '0.self_attn.q_proj' in text
    assert 'another.weight' in text and 'is [4, 48], expected [32, 48]' in text


def test_a_template_of_ones_own(folder_of, copy_of):
    folder = copy_of('instructblip')
    with pytest.raises(ConfigError, match="no chat template. Give Jinja text, or 'question'"):
        HFVisionLanguage(str(folder), device='cpu')
    loud = HFVisionLanguage(str(folder), device='cpu', dtype='float32', template=(
        "{% for m in messages %}{% for p in m['content'] if p['type'] == 'text' %}{{ p['text'] }}"
        "{{ '!' if m['role'] == 'user' else eos_token }}{% endfor %}{% endfor %}"))
    encoded = loud.encode(sample('what is it?', 'red'), training=True)
    assert loud.processor.tokenizer.decode(encoded.input_ids_L).endswith('what is it?!red<|im_end|>')


@pytest.mark.parametrize(('template', 'words'), [
    ("{{ raise_exception('no pictures') }}", 'cannot write it: no pictures'),
    (CHAT.replace('PICTURE', '<IMG_CONTEXT>').replace('<|im_end|>', '{{ loop.length }}<|im_end|>'), 'conversation diff'),
    (CHAT.replace('PICTURE', ''), 'the processor cannot write it'),
])
def test_templates_are_tried_before_the_run(folder_of, template, words):
    with pytest.raises(ConfigError, match=rf'backbone\.template: .*{words}'):
        HFVisionLanguage(str(folder_of('internvl')), device='cpu', template=template)


def test_a_processor_that_rewrites_the_text_is_refused(backbone_of):
    """As PaliGemma's, which puts the end of the picture and a line break of its own into the prompt."""
    encoder = backbone_of('idefics3').samples

    class Rewriting(Processor):
        def __call__(self, sample_id, text, pictures):
            return super().__call__(sample_id, 'so: ' + text, pictures)

    with pytest.raises(ConfigError, match=r"do not agree: where the answer 'a ring' should be, the tokens say"):
        replace(encoder, processor=Rewriting(encoder.processor.inner, True)).check()


def test_the_qformer_reads_the_question_and_never_the_answer(backbone_of):
    backbone = backbone_of('instructblip')
    training = backbone.encode(sample('what is it?', 'a red ring'), training=True)
    asked = backbone.encode(sample('what is it?'), training=False)
    for name in ('qformer_input_ids', 'qformer_attention_mask'):
        assert torch.equal(training.extras[name], asked.extras[name])
    short = backbone.encode(sample('what?'), training=False)
    batch = backbone.collate([short, asked], padding_side='left')
    ids, mask = batch.extras['qformer_input_ids'], batch.extras['qformer_attention_mask']
    assert ids.shape == mask.shape and mask.sum(1).tolist() == [one.extras['qformer_input_ids'].shape[1]
                                                                for one in (short, asked)]
    assert mask[0, 0] == 1 and mask[0, -1] == 0  # its positions count from the left, whichever side the prompt is padded
    with pytest.raises(DataError, match='record s: 2 pictures and 1 questions'):
        backbone.encode(sample('what?', 'red', images=[Plain('red'), Plain('blue')]), training=True)


def test_processors_without_their_video_part():
    from transformers import Idefics3Processor, InternVLProcessor, LlavaOnevisionProcessor, Qwen3VLProcessor

    for cls in (InternVLProcessor, LlavaOnevisionProcessor, Qwen3VLProcessor):
        assert without_video(cls).get_attributes() == ['image_processor', 'tokenizer']
    assert without_video(Idefics3Processor).get_attributes() == Idefics3Processor.get_attributes()


def test_smolvlm_needs_num2words(folder_of, tmp_path, monkeypatch):
    """Its processor asks for that package; nothing else of it needs more than Idefics3's."""
    from transformers.models.smolvlm import processing_smolvlm

    folder = shutil.copytree(folder_of('idefics3'), tmp_path / 'smolvlm')
    for name, change in (('config.json', {'model_type': 'smolvlm', 'architectures': ['SmolVLMForConditionalGeneration']}),
                         ('preprocessor_config.json', {'image_processor_type': 'SmolVLMImageProcessor'}),
                         ('processor_config.json', {'processor_class': 'SmolVLMProcessor'})):
        content = json.loads((folder / name).read_text()) | change
        for part, kind in (('vision_config', 'smolvlm_vision'),):
            content |= {part: content[part] | {'model_type': kind}} if part in content else {}
        (folder / name).write_text(json.dumps(content))
    monkeypatch.setattr(processing_smolvlm, 'num2words', None)
    with pytest.raises(ConfigError, match='its processor .SmolVLMProcessor. cannot be built: .*num2words'):
        load(folder)
    monkeypatch.setattr(processing_smolvlm, 'num2words', str)
    backbone = load(folder)
    batch = batch_of(backbone, MIXED)
    with torch.no_grad():
        theirs = backbone.model(**official(batch), labels=batch.labels_BL)
    assert abs(backbone.forward(batch).token_loss_N.mean() - theirs.loss) < 1e-5
    (one, _), states = prefix_states(backbone)
    assert one.shared_prefix_length > 4
    assert (states[0][:one.shared_prefix_length] - states[1][:one.shared_prefix_length]).abs().max() < 1e-5


def test_a_processor_that_cannot_be_built(copy_of):
    folder = copy_of('idefics3')
    (folder / 'preprocessor_config.json').write_text(json.dumps({'image_processor_type': 'NoSuchProcessor'}))
    with pytest.raises(ConfigError, match=r'its processor \(Idefics3Processor\) cannot be built'):
        load(folder)
