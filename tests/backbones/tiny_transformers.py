"""Tiny random vision-language models as checkpoint folders, pictures and samples: nothing is downloaded.

Tokenizers are trained on two sentences and ask for padding, as some published ones do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from coinkit.data.batch import Batch, Encoded
from coinkit.errors import BadImage
from coinkit.registry import BACKBONES
from coinkit.types import Sample, Turn

EOS, PAD = '<|im_end|>', '<|endoftext|>'
ROWS = [f'<row_{row + 1}_col_{column + 1}>' for row in range(6) for column in range(6)]
SPECIAL = [PAD, '<|im_start|>', EOS, '<|vision_start|>', '<|vision_end|>', '<|image_pad|>', '<|video_pad|>', '<image>',
           '<video>', '<img>', '</img>', '<IMG_CONTEXT>', '<fake_token_around_image>', '<global-img>',
           '<end_of_utterance>', *ROWS]
TEXTS = ['what is it? answer with one word. red blue green ring', 'the picture shows a cat and a dog'] * 3
TEXT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=2048, eos_token_id=SPECIAL.index(EOS), bos_token_id=None,
            pad_token_id=SPECIAL.index(PAD))
CHAT = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}PICTURE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
QWEN_PICTURE = '<|vision_start|><|image_pad|><|vision_end|>'


def save_tokenizer(folder: Path, **named: str) -> int:
    from transformers import PreTrainedTokenizerFast

    own = Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    own.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    own.enable_padding(pad_id=0)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=own, eos_token=EOS, pad_token=PAD,
                                        extra_special_tokens=named or None)
    tokenizer.save_pretrained(str(folder))
    return len(tokenizer)


def save_model(folder: Path, cls, config, *, seed: int = 0) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config).eval()
        for parameter in model.parameters():  # lively enough for greedy answers that differ
            parameter.data += torch.randn_like(parameter) * 0.1
    model.save_pretrained(str(folder))


def write(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding='utf-8')


def qwen(folder: Path, kind: str) -> Path:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder)
    ids = dict(image_token_id=SPECIAL.index('<|image_pad|>'), video_token_id=SPECIAL.index('<|video_pad|>'),
               vision_start_token_id=SPECIAL.index('<|vision_start|>'), vision_end_token_id=SPECIAL.index('<|vision_end|>'))
    rope = {'rope_type': 'default', 'rope_theta': 10000.0, 'mrope_section': [2, 3, 3]}
    text = dict(TEXT, vocab_size=vocabulary, rope_parameters=rope)
    patch = 4
    if kind == 'qwen2_vl':
        vision = dict(depth=2, embed_dim=32, hidden_size=32, num_heads=2, mlp_ratio=2, patch_size=patch)
        config, cls = tf.Qwen2VLConfig(text_config=text, vision_config=vision, **ids), tf.Qwen2VLForConditionalGeneration
    elif kind == 'qwen2_5_vl':
        vision = dict(depth=2, hidden_size=32, num_heads=2, intermediate_size=48, patch_size=patch, out_hidden_size=32,
                      window_size=16, fullatt_block_indexes=[1])
        config = tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        cls = tf.Qwen2_5_VLForConditionalGeneration
    else:
        vision = dict(depth=2, hidden_size=32, num_heads=2, intermediate_size=48, patch_size=patch, out_hidden_size=32,
                      num_position_embeddings=16, deepstack_visual_indexes=[0])
        text = dict(text, head_dim=16, rope_parameters=dict(rope, mrope_interleaved=True))
        config, cls = tf.Qwen3VLConfig(text_config=text, vision_config=vision, **ids), tf.Qwen3VLForConditionalGeneration
    save_model(folder, cls, config)
    write(folder, 'preprocessor_config.json', {'image_processor_type': 'Qwen2VLImageProcessor', 'patch_size': patch,
          'merge_size': 2, 'temporal_patch_size': 2, 'min_pixels': 256, 'max_pixels': 1024,
          'image_mean': [0.5] * 3, 'image_std': [0.5] * 3})
    write(folder, 'chat_template.jinja', CHAT.replace('PICTURE', QWEN_PICTURE))
    write(folder, 'generation_config.json', {'eos_token_id': [SPECIAL.index(EOS), 0], 'pad_token_id': 0})
    return folder


def internvl(folder: Path) -> Path:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder, start_image_token='<img>', end_image_token='</img>',
                                context_image_token='<IMG_CONTEXT>', video_token='<video>')
    config = tf.InternVLConfig(
        text_config=dict(TEXT, model_type='qwen2', vocab_size=vocabulary), image_token_id=SPECIAL.index('<IMG_CONTEXT>'),
        vision_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                           image_size=[16, 16], patch_size=[4, 4]), image_seq_length=4, tie_word_embeddings=False)
    save_model(folder, tf.InternVLForConditionalGeneration, config)
    write(folder, 'preprocessor_config.json', {'image_processor_type': 'GotOcr2ImageProcessor', 'crop_to_patches': True,
          'min_patches': 1, 'max_patches': 3, 'size': {'height': 16, 'width': 16}})
    write(folder, 'processor_config.json', {'processor_class': 'InternVLProcessor', 'image_seq_length': 4})
    write(folder, 'chat_template.jinja', CHAT.replace('PICTURE', '<IMG_CONTEXT>\n'))
    return folder


def llava_onevision(folder: Path) -> Path:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder)
    config = tf.LlavaOnevisionConfig(
        text_config=dict(TEXT, model_type='qwen2', vocab_size=vocabulary), image_token_id=SPECIAL.index('<image>'),
        video_token_id=SPECIAL.index('<video>'), image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]],
        vision_config=dict(model_type='siglip_vision_model', hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                           intermediate_size=24, image_size=16, patch_size=4, vision_use_head=False))
    save_model(folder, tf.LlavaOnevisionForConditionalGeneration, config)
    write(folder, 'preprocessor_config.json', {'image_processor_type': 'LlavaOnevisionImageProcessor',
          'image_grid_pinpoints': [[16, 16], [16, 32], [32, 16]], 'size': {'height': 16, 'width': 16}})
    write(folder, 'processor_config.json', {'processor_class': 'LlavaOnevisionProcessor', 'num_image_tokens': 16,
          'vision_feature_select_strategy': 'full', 'image_token': '<image>', 'video_token': '<video>',
          'vision_aspect_ratio': 'anyres_max_9'})
    write(folder, 'chat_template.jinja', CHAT.replace('PICTURE', '<image>\n'))
    return folder


def idefics3(folder: Path) -> Path:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder)
    config = tf.Idefics3Config(
        text_config=dict(TEXT, model_type='llama', vocab_size=vocabulary), image_token_id=SPECIAL.index('<image>'),
        vision_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                           image_size=16, patch_size=4), scale_factor=2)
    save_model(folder, tf.Idefics3ForConditionalGeneration, config)
    write(folder, 'preprocessor_config.json', {'image_processor_type': 'Idefics3ImageProcessor',
          'size': {'longest_edge': 32}, 'max_image_size': {'longest_edge': 16}})
    write(folder, 'processor_config.json', {'processor_class': 'Idefics3Processor', 'image_seq_len': 4})
    write(folder, 'chat_template.jinja', CHAT.replace('PICTURE', '<image>'))
    return folder


def instructblip(folder: Path) -> Path:
    import transformers as tf

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder)
    (folder / 'qformer_tokenizer').mkdir(exist_ok=True)
    save_tokenizer(folder / 'qformer_tokenizer')
    config = tf.InstructBlipConfig(
        text_config=dict(TEXT, model_type='llama', vocab_size=vocabulary), image_token_index=SPECIAL.index('<image>'),
        num_query_tokens=4,
        vision_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                           image_size=16, patch_size=4),
        qformer_config=dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                            encoder_hidden_size=16, vocab_size=vocabulary, max_position_embeddings=64,
                            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    save_model(folder, tf.InstructBlipForConditionalGeneration, config)
    write(folder, 'preprocessor_config.json', {'image_processor_type': 'BlipImageProcessor',
          'size': {'height': 16, 'width': 16}})
    write(folder, 'processor_config.json', {'processor_class': 'InstructBlipProcessor', 'num_query_tokens': 4})
    return folder


QWEN = {'qwen2_vl': 'Qwen2VL', 'qwen2_5_vl': 'Qwen25VL', 'qwen3_vl': 'Qwen3VL'}
OTHERS = {'internvl': internvl, 'llava_onevision': llava_onevision, 'idefics3': idefics3, 'instructblip': instructblip}
KINDS = (*QWEN, *OTHERS)


def build(kind: str, folder: Path) -> Path:
    """A checkpoint folder of this model type."""
    return qwen(folder, kind) if kind in QWEN else OTHERS[kind](folder)


def load(folder: Path, **options: Any) -> Any:
    """The backbone of a folder named after its model type."""
    own = {'template': 'question'} if folder.name == 'instructblip' else {}
    return BACKBONES.build({'type': QWEN.get(folder.name, 'HFVisionLanguage'), 'checkpoint': str(folder),
                            'dtype': 'float32', 'device': 'cpu', **own, **options})


@dataclass(frozen=True)
class Plain:
    """A picture of one colour; 'broken' cannot be opened."""

    colour: str
    size: tuple[int, int] = (40, 20)

    @property
    def key(self) -> str:
        return f'{self.colour}{self.size}'

    def load(self) -> Image.Image:
        if self.colour == 'broken':
            raise BadImage('broken.png cannot be decoded')
        return Image.new('RGB', self.size, self.colour)


def sample(question: str, answer: str | None = None, images=(Plain('red'),), name: str = 's') -> Sample:
    turns = [Turn('human', question)] + ([Turn('gpt', answer)] if answer is not None else [])
    return Sample(name, 't', tuple(images), tuple(turns))


ONE_EACH = [sample('what is it?', 'a red ring'), sample('<image>\nand a longer question here?', 'no',
                                                       images=[Plain('blue', (20, 30))])]
MIXED = [*ONE_EACH, sample('is this a question without a picture?', 'dog', images=()),
         sample('first <image> then <image>', 'green', images=[Plain('red'), Plain('green', (16, 16))])]


def samples_for(backbone: Any) -> list[Sample]:
    """What this backbone can read: with a Q-Former one picture and one question each."""
    return ONE_EACH if backbone.samples.reads_instruction else MIXED


def asked(record: Sample) -> Sample:
    """The first question alone."""
    return Sample(record.id, record.task, record.images, record.turns[:1])


def batch_of(backbone: Any, samples: list[Sample], *, training: bool = True) -> Batch:
    return backbone.collate([backbone.encode(one, training=training) for one in samples],
                            padding_side='right' if training else 'left')


def official(batch: Batch) -> dict[str, torch.Tensor]:
    """What transformers' own forward takes of a batch: it finds positions itself."""
    pixels = {} if batch.pixel_values_P is None else {'pixel_values': batch.pixel_values_P}
    extras = {name: value for name, value in batch.extras.items() if name != 'position_ids'}
    return {'input_ids': batch.input_ids_BL, 'attention_mask': batch.attention_mask_BL, **pixels, **extras}


def prefix_states(backbone: Any) -> tuple[list[Encoded], list[torch.Tensor]]:
    """Two questions on one picture, and the hidden states (L, H) of each."""
    asked_twice = [backbone.encode(sample(text), training=False) for text in ('what is it?', 'a cat and a dog or')]
    states: list[torch.Tensor] = []
    hook = backbone.decoder.register_forward_hook(lambda _, __, out: states.append(out.last_hidden_state[0]))
    for one in asked_twice:
        backbone.prefill(backbone.collate([one], padding_side='left'))
    hook.remove()
    return asked_twice, states
