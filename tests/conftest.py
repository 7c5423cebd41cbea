"""The two backbones tests run on: the mini one, and the tiny LLaVA-1.5 of tests/golden/llava15 as a hub-format folder.

Ctrl-C is heard in every test run, also in one that a shell started in the background, deaf to it: some tests send it.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / 'golden'
OFFICIAL_KEYS = {  # official tensor names to transformers' names
    r'^model\.(embed_tokens|layers|norm)\b': r'model.language_model.\1',
    r'^model\.mm_projector\.0\.': 'model.multi_modal_projector.linear_1.',
    r'^model\.mm_projector\.2\.': 'model.multi_modal_projector.linear_2.',
    r'^model\.vision_tower\.vision_tower\.vision_model\.': 'model.vision_tower.',
}


@pytest.fixture(autouse=True)
def backbones_are_built_anew():
    """A test that leaves the small engine's cached backbones behind fails itself, not another one after it."""
    from coinkit.registry import BACKBONES

    before = BACKBONES.build  # what a fixture of the whole file may have put there
    yield
    assert BACKBONES.build == before, 'BACKBONES.build is still replaced'


@pytest.fixture(scope='session')
def tiny_llava_folder(tmp_path_factory) -> Path:
    """Own embedding rows stay 562: pictures are not tokens of the vocabulary."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    folder = tmp_path_factory.mktemp('tiny_llava')
    official = json.loads((GOLDEN / 'llava15' / 'config.json').read_text())
    sizes = ('vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
             'num_key_value_heads', 'max_position_embeddings', 'rms_norm_eps')
    vision = ('hidden_size', 'intermediate_size', 'projection_dim', 'num_hidden_layers', 'num_attention_heads',
              'patch_size', 'image_size', 'hidden_act', 'layer_norm_eps')
    config = LlavaConfig(text_config=LlamaConfig(**{key: official[key] for key in sizes}),
                         vision_config=CLIPVisionConfig(**{key: official['vision_config'][key] for key in vision}),
                         image_token_index=0, image_seq_length=16, vision_feature_layer=-2)
    config.save_pretrained(str(folder))
    shutil.copy(GOLDEN / 'llava15' / 'weights.safetensors', folder / 'model.safetensors')
    model = LlavaForConditionalGeneration.from_pretrained(str(folder), key_mapping=OFFICIAL_KEYS, dtype='float32')
    model.save_pretrained(str(folder), save_original_format=False)  # under transformers' names
    shutil.copy(GOLDEN / 'tokenizer_llama_tiny' / 'tokenizer.model', folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps(official['image_processor']))
    (folder / 'tokenizer_config.json').write_text('{"tokenizer_class": "LlamaTokenizer", "legacy": false}')
    return folder


@pytest.fixture(scope='module')
def mini():
    """The backbone that comes with coinkit."""
    from coinkit.backbones.llava import Llava

    return Llava('mini', dtype='float32', device='cpu')


@pytest.fixture(scope='module')
def tiny(tiny_llava_folder):
    """A random LLaVA of the published layout."""
    from coinkit.backbones.llava import Llava

    return Llava(str(tiny_llava_folder), dtype='float32', device='cpu')


@pytest.fixture(params=['mini', 'tiny'])
def backbone(request):
    """Each of the two in turn."""
    return request.getfixturevalue(request.param)
