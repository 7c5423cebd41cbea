"""LLaVA-1.5 against the published code's own outputs on tiny weights: ids, labels, pixels, logits, loss, gradients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from coinkit.backbones.llava import Llava
from coinkit.backbones.llava.templates import make_template
from coinkit.backbones.pixels import PixelReader
from coinkit.backbones.text_codec import read_codec
from coinkit.backbones.turns import IMAGE_ID, checked_turns, with_image_tags
from coinkit.data.batch import IGNORE, Batch
from coinkit.types import Turn

FORMS = ('hub', 'original', 'original, tower outside', 'language model, tower, projector')
GOLDEN = Path(__file__).parents[2] / 'golden'
MASKS = json.loads((GOLDEN / 'llava15' / 'label_masks.json').read_text())
SLOTS = 16


@pytest.fixture(scope='module')
def golden():
    return load_file(GOLDEN / 'llava15' / 'forward.io.safetensors')


@pytest.fixture(scope='module', params=FORMS)
def backbone(request, forms):
    return Llava(**forms[request.param], dtype='float32', device='cpu')


@pytest.fixture(scope='module')
def codecs():
    return {legacy: read_codec(GOLDEN / 'tokenizer_llama_tiny', legacy=legacy) for legacy in (True, False)}


@pytest.mark.parametrize('case', [name for name in MASKS if name.startswith('v1')])
def test_ids_and_labels(case, codecs):
    rule, legacy, _ = case.split('.')
    record = MASKS[case]
    turns = checked_turns(case, [Turn(role, text) for role, text in record['conversations']], training=True)
    template = make_template('vicuna_v1', card={}, mask_correction=rule == 'v1')
    ids, labels = template.render(with_image_tags(case, turns, int(record['has_image'])),
                                  codecs[legacy == 'legacy=True'], training=True, max_length=2048)
    assert ids == record['input_ids']
    assert labels == record['labels']
    assert all(one == IGNORE for one in labels) == record['all_ignored']


@pytest.mark.parametrize('case', [name for name in MASKS if name.startswith('plain')])
def test_projector_pretraining(case, codecs):
    turns = with_image_tags(case, [Turn('human', 'ignored'), Turn('gpt', 'a red ball')], 1)
    ids, labels = make_template('plain', card={}).render(turns, codecs['True' in case], training=True, max_length=2048)
    assert (ids, labels) == (MASKS[case]['input_ids'], MASKS[case]['labels'])


def test_prompt_text(codecs):
    from coinkit.backbones.llava.templates import vicuna_text

    turns = with_image_tags('one', [Turn('human', 'What color is the cat?')], 1)
    assert vicuna_text(turns) + 'ASSISTANT:' == MASKS['prompt_text']['inference_one_turn']
    two = [Turn('human', '<image>\nWhat?'), Turn('gpt', 'red'), Turn('human', 'How many?'), Turn('gpt', 'two')]
    assert vicuna_text(two) == MASKS['prompt_text']['train_two_turns']


def test_pixels_are_bit_equal():
    golden = load_file(GOLDEN / 'llava15' / 'image_preprocess.safetensors')
    for number in range(3):
        image = Image.open(GOLDEN / 'llava15' / f'img{number}.png')
        pad, crop = PixelReader(56), PixelReader(56, aspect_ratio='crop')
        assert np.array_equal(np.asarray(pad.pad_to_square(image.convert('RGB'))), golden[f'square{number}'].numpy())
        assert torch.equal(pad(image), golden['pixel_values_pad'][number])
        assert torch.equal(crop(image), golden['pixel_values_nopad'][number])


def expanded(golden) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each golden row without padding, every picture at its full length."""
    rows = []
    for ids_L, labels_L, mask_L in zip(golden['input_ids'], golden['labels'], golden['attention_mask'], strict=True):
        ids_L, labels_L = ids_L[mask_L.bool()], labels_L[mask_L.bool()]
        counts_L = torch.where(ids_L == IMAGE_ID, SLOTS, 1)
        rows.append((ids_L.repeat_interleave(counts_L), labels_L.repeat_interleave(counts_L)))
    return rows


def golden_batch(golden, *, side: str = 'right', all_positions: bool = False) -> Batch:
    rows, longest = expanded(golden), golden['logits'].shape[1]

    def padded(values, fill):
        gaps = [(0, longest - len(row)) if side == 'right' else (longest - len(row), 0) for row in values]
        return torch.stack([torch.nn.functional.pad(row, gap, value=fill) for row, gap in zip(values, gaps, strict=True)])

    labels = [ids.clamp(min=0) if all_positions else labels for ids, labels in rows]
    # rows 0 and 1 have a picture; the published code feeds a zero picture for the text-only row and uses none of it
    return Batch(['a', 'b', 'c'], padded([ids for ids, _ in rows], 2), padded([torch.ones_like(ids) for ids, _ in rows], 0),
                 padded(labels, IGNORE), golden['images'][:2])


def test_expansion_is_the_published_one(golden):
    batch = golden_batch(golden)
    assert torch.equal(batch.attention_mask_BL.bool(), golden['expanded_attention_mask'].bool())
    assert torch.equal(batch.labels_BL, golden['expanded_labels'])


def test_features_and_embeddings(backbone, golden):
    features_PSH = backbone.features(golden['images'])
    assert (features_PSH - golden['projected']).abs().max() < 1e-4
    mask = golden['expanded_attention_mask'].bool()
    embeds_BLH = backbone.embed(golden_batch(golden))
    assert (embeds_BLH - golden['inputs_embeds'])[mask].abs().max() < 1e-4


def test_logits_at_every_position(backbone, golden):
    output = backbone.forward(golden_batch(golden, all_positions=True))
    mask = golden['expanded_attention_mask'].bool()
    want_NV = golden['logits'][:, :-1][mask[:, 1:]]
    assert output.logits_NV.shape == want_NV.shape
    assert (output.logits_NV - want_NV).abs().max() < 1e-4


def test_loss_and_gradients(backbone, golden):
    names = {'model.mm_projector.0.weight': 'model.multi_modal_projector.linear_1.weight',
             'model.mm_projector.2.bias': 'model.multi_modal_projector.linear_2.bias',
             'model.layers.0.self_attn.q_proj.weight': 'model.language_model.layers.0.self_attn.q_proj.weight'}
    parameters = {theirs: backbone.model.get_parameter(ours).requires_grad_() for theirs, ours in names.items()}
    output = backbone.forward(golden_batch(golden))
    loss = output.token_loss_N.mean()
    assert abs(loss.item() - golden['loss'].item()) < 1e-4
    loss.backward()
    for theirs, parameter in parameters.items():
        assert (parameter.grad - golden[f'grad.{theirs}']).abs().max() < 1e-4, theirs
        parameter.grad = None
        parameter.requires_grad_(False)
    rows_N = (golden['expanded_labels'][:, 1:] != IGNORE).nonzero()[:, 0]
    assert torch.equal(output.rows_N, rows_N)


def test_left_padded_prefill_has_the_same_last_logits(backbone, golden):
    logits_BV, _ = backbone.prefill(golden_batch(golden, side='left'))
    last_B = golden['expanded_attention_mask'].sum(1) - 1
    assert (logits_BV - golden['logits'][torch.arange(3), last_B]).abs().max() < 1e-4


# --- the model's own forward, on the published ids ----------------------------------------------------------------


def own(backbone, golden, **changes):
    """What the published code is given: one id per picture, a zero picture for the text-only row."""
    given = dict(input_ids=golden['input_ids'], attention_mask=golden['attention_mask'], pixel_values=golden['images'],
                 labels=golden['labels'])
    return backbone.model(**given | changes)


def assert_golden(output, golden):
    assert output.logits.shape == golden['logits'].shape
    assert (output.logits - golden['logits']).abs().max() < 1e-4  # at padding as well
    assert abs(output.loss.item() - golden['loss'].item()) < 1e-4


def test_published_ids(backbone, golden):
    assert_golden(own(backbone, golden), golden)
    assert_golden(own(backbone, golden, pixel_values=golden['images'][:2]), golden)  # pictures that are shown, alone
    assert own(backbone, golden, labels=None).loss is None


def test_ids_at_full_length(backbone, golden):
    batch = golden_batch(golden)
    for pixels in (golden['images'], golden['images'][:2]):
        output = backbone.model(input_ids=batch.input_ids_BL, attention_mask=batch.attention_mask_BL,
                                pixel_values=pixels, labels=batch.labels_BL)
        assert_golden(output, golden)


def test_gradients_of_the_models_own_loss(backbone, golden):
    names = {'model.mm_projector.0.weight': 'model.multi_modal_projector.linear_1.weight',
             'model.layers.0.self_attn.q_proj.weight': 'model.language_model.layers.0.self_attn.q_proj.weight'}
    parameters = {theirs: backbone.model.get_parameter(ours).requires_grad_() for theirs, ours in names.items()}
    own(backbone, golden).loss.backward()
    for theirs, parameter in parameters.items():
        assert (parameter.grad - golden[f'grad.{theirs}']).abs().max() < 1e-4, theirs
        parameter.grad = None
        parameter.requires_grad_(False)
