"""Both directions between a bank and a stock PEFT folder, by logits, on a small random LLaVA of transformers."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from coinkit.backbones.inject import inject
from coinkit.backbones.peft_io import (
    add_peft_block,
    export_merged,
    export_peft,
    import_peft,
    read_peft,
)
from coinkit.errors import ConfigError, DataError, RunError

TARGETS = r'model\.language_model\.layers\.\d+\..*\.(q|k|v|o|gate|up|down)_proj'
PROJECTOR = [f'model.multi_modal_projector.linear_{i}.{part}' for i in (1, 2) for part in ('weight', 'bias')]
CLOSE = dict(rtol=0, atol=1e-6)


@cache
def config() -> LlavaConfig:
    text = LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=50,
                       tie_word_embeddings=False)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                              image_size=8, patch_size=4, projection_dim=16)
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=49, vision_feature_layer=-1)


def llava() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config()).eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    ids = torch.tensor([[1, 49, 49, 49, 49, 7, 8, 9]])
    pixels = torch.linspace(-1, 1, 3 * 64).view(1, 3, 8, 8)
    return model(input_ids=ids, pixel_values=pixels).logits


def filled_bank(model, blocks):
    bank = inject(model, targets=TARGETS, dropout=0.05)
    for name, rank, scale in blocks:
        bank.add(name, rank=rank, scale=scale)
    generator = torch.Generator().manual_seed(1)
    bank.load_state_dict({key: torch.randn(value.shape, generator=generator) * 0.1
                          for key, value in bank.state_dict().items()})
    return bank


def train_projector(model):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in PROJECTOR:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize('blocks', [
    [('a', 4, 2.0)], [('a', 4, 2.0), ('b', 2, 2.0)], [('a', 3, 2.0), ('b', 2, 0.3), ('c', 1, 1.7)],
])
def test_exported_folder_gives_equal_logits(tmp_path, blocks):
    model = llava()
    plain = logits(model)
    bank = filled_bank(model, blocks)
    train_projector(model)
    wanted = logits(model)
    assert (wanted - plain).abs().max() > 1e-2
    files = export_peft(bank, tmp_path, trained=PROJECTOR, base_model='some/base')
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)
    assert json.loads((tmp_path / 'adapter_config.json').read_text())['base_model_name_or_path'] == 'some/base'
    loaded = PeftModel.from_pretrained(llava(), str(tmp_path)).eval()
    torch.testing.assert_close(logits(loaded), wanted, **CLOSE)
    torch.testing.assert_close(logits(loaded.merge_and_unload()), wanted, rtol=0, atol=1e-5)


def test_export_of_chosen_blocks(tmp_path):
    model = llava()
    bank = filled_bank(model, [('a', 4, 2.0), ('b', 2, 2.0)])
    export_peft(bank, tmp_path, blocks=['b'])
    bank.set_active(['b'])
    torch.testing.assert_close(logits(PeftModel.from_pretrained(llava(), str(tmp_path)).eval()), logits(model), **CLOSE)


@pytest.mark.parametrize('rslora', [False, True])
@pytest.mark.parametrize('projector', [False, True])
def test_imported_folder_gives_equal_logits(tmp_path, rslora, projector):
    lora = LoraConfig(r=4, lora_alpha=6, lora_dropout=0.1, target_modules=TARGETS, use_rslora=rslora,
                      init_lora_weights=False, modules_to_save=['multi_modal_projector'] if projector else None)
    theirs = get_peft_model(llava(), lora).eval()
    if projector:
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                if 'modules_to_save' in name:
                    parameter.mul_(1.5)
    theirs.save_pretrained(str(tmp_path))
    wanted = logits(theirs)
    model = llava()
    bank = import_peft(model, tmp_path, block='old')
    torch.testing.assert_close(logits(model), wanted, **CLOSE)
    assert list(bank.blocks) == ['old'] and bank.dropout == 0.1
    assert bank.blocks['old'].scale == (3.0 if rslora else 1.5)
    # and back again
    export_peft(bank, tmp_path / 'again', trained=PROJECTOR if projector else [])
    again = PeftModel.from_pretrained(llava(), str(tmp_path / 'again')).eval()
    torch.testing.assert_close(logits(again), wanted, **CLOSE)


def test_import_as_a_further_block(tmp_path):
    model = llava()
    bank = filled_bank(model, [('a', 4, 2.0)])
    only_a = logits(model)
    export_peft(bank, tmp_path)
    other = llava()
    bank = inject(other, targets=TARGETS)
    bank.add('fresh', rank=2, scale=1.0)
    add_peft_block(bank, read_peft(tmp_path), block='old', trainable=False)
    torch.testing.assert_close(logits(other), only_a, **CLOSE)
    assert not bank.blocks['old'].trainable and bank.blocks['fresh'].trainable


def test_factors_that_do_nothing_need_no_place(tmp_path):
    """A released run adapts linears that are not read: their B stays zero."""
    model = llava()
    bank = filled_bank(model, [('a', 4, 2.0)])
    idle = bank.targets[0]
    bank.layers[idle].bank_B.data.zero_()
    wanted = logits(model)
    export_peft(bank, tmp_path)
    other = llava()
    smaller = inject(other, targets=TARGETS, exclude=[idle])
    add_peft_block(smaller, read_peft(tmp_path), block='old')
    assert idle not in smaller.targets
    torch.testing.assert_close(logits(other), wanted, **CLOSE)


def test_merged_export(tmp_path):
    model = llava()
    bank = filled_bank(model, [('a', 4, 2.0), ('b', 2, 0.3)])
    train_projector(model)
    wanted = logits(model)
    export_merged(bank, tmp_path)
    loaded = LlavaForConditionalGeneration.from_pretrained(str(tmp_path)).eval()
    torch.testing.assert_close(logits(loaded), wanted, rtol=0, atol=1e-6)
    assert {name for name, _ in loaded.named_parameters()} == {name for name, _ in llava().named_parameters()}


def test_what_cannot_be_exported_says_why(tmp_path):
    bank = inject(llava(), targets=TARGETS, gate='softmax')
    bank.add(['a', 'b'], rank=2, scale=1.0)
    with pytest.raises(RunError, match="gated by 'softmax' is no LoRA"):
        export_peft(bank, tmp_path)
    with pytest.raises(RunError, match='cannot be merged'):
        export_merged(bank, tmp_path)
    bank = filled_bank(llava(), [('a', 2, 1.0)])
    with pytest.raises(ConfigError, match="unknown block 'aa'"):
        export_peft(bank, tmp_path, blocks=['aa'])
    with pytest.raises(RunError, match='both trained and adapted'):
        export_peft(bank, tmp_path, trained=['model.language_model.layers.0.self_attn.q_proj.base.weight'])
    bank.merge('a')
    with pytest.raises(RunError, match='no active block'):
        export_peft(bank, tmp_path)
    bank.add('b', rank=2, scale=1.0)
    with pytest.raises(RunError, match=r"\['a'\] were merged"):
        export_peft(bank, tmp_path)
    assert not list(tmp_path.iterdir())


def edited(folder, **changes):
    path = folder / 'adapter_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_cannot_be_imported_says_why(tmp_path):
    with pytest.raises(DataError, match=r'adapter_config\.json: cannot be read'):
        read_peft(tmp_path)
    export_peft(filled_bank(llava(), [('a', 4, 2.0)]), tmp_path, trained=PROJECTOR)
    edited(tmp_path, rank_pattern={'q_proj': 2}, use_dora=True, bias='all')
    with pytest.raises(ConfigError, match=r'3 problems(.|\n)*rank_pattern(.|\n)*use_dora(.|\n)*bias'):
        read_peft(tmp_path)
    edited(tmp_path, rank_pattern={}, use_dora=False, bias='none', r=8)
    with pytest.raises(DataError, match='has rank 4, the config says r = 8'):
        read_peft(tmp_path)
    edited(tmp_path, peft_type='IA3', r=4)
    with pytest.raises(DataError, match="'IA3' is not 'LORA'"):
        read_peft(tmp_path)
    edited(tmp_path, peft_type='LORA')
    bank = inject(llava(), targets=[r'q_proj'], exclude=r'.*vision.*')
    with pytest.raises(ConfigError, match='the bank does not'):
        add_peft_block(bank, read_peft(tmp_path), block='x')
    assert bank.blocks == {}
    with pytest.raises(ConfigError, match="no module 'language_model.model.layers"):
        import_peft(llava(), tmp_path, rename=lambda name: name.replace('model.language_model', 'language_model.model'))
    tensors = load_file(tmp_path / 'adapter_model.safetensors')
    del tensors[next(name for name in tensors if 'lora_B' in name)]
    save_file(tensors, tmp_path / 'adapter_model.safetensors')
    with pytest.raises(DataError, match='has lora_A only'):
        read_peft(tmp_path)


def test_old_names_and_old_files_through_rename(tmp_path):
    """Adapters saved as .bin under another module naming."""
    model = llava()
    bank = filled_bank(model, [('a', 4, 2.0)])
    export_peft(bank, tmp_path)
    tensors = load_file(tmp_path / 'adapter_model.safetensors')
    (tmp_path / 'adapter_model.safetensors').unlink()
    torch.save({name.replace('model.language_model', 'model'): value for name, value in tensors.items()},
               tmp_path / 'adapter_model.bin')
    other = llava()
    import_peft(other, tmp_path, rename=lambda name: name.replace('model.layers', 'model.language_model.layers'))
    torch.testing.assert_close(logits(other), logits(model), **CLOSE)
