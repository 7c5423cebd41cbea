"""The model's own forward and generate on published ids: rows and pictures that fit, cuts, padding, and what is refused."""

from __future__ import annotations

import pytest
import torch

from coinkit.backbones.llava import Llava
from coinkit.backbones.llava.modeling import Rows, expand
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE

SLOTS = 16
PROMPT = [1, 300, 301, IMAGE_ID, 302, 303]


@pytest.fixture(scope='module')
def backbone(original_folder):
    return Llava(str(original_folder), dtype='float32', device='cpu')


@pytest.fixture(scope='module')
def pictures():
    return torch.randn(4, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def ids_of(*rows, pad=0, side='right'):
    longest = max(map(len, rows))
    gaps = [[pad] * (longest - len(row)) for row in rows]
    ids = [row + gap if side == 'right' else gap + row for row, gap in zip(rows, gaps, strict=True)]
    masks = [[1] * len(row) + [0] * len(gap) if side == 'right' else [0] * len(gap) + [1] * len(row)
             for row, gap in zip(rows, gaps, strict=True)]
    return torch.tensor(ids), torch.tensor(masks)


def test_expand_by_hand():
    ids, mask = ids_of([1, IMAGE_ID, 7, 8], [1, 5])
    rows = expand(Rows(ids, mask.bool(), torch.tensor([[IGNORE, 9, 7, 8], [IGNORE, 5, 6, 6]])), 3, padding_side='right')
    assert rows.ids_BL.tolist() == [[1, *[IMAGE_ID] * 3, 7, 8], [1, 5, 0, 0, 0, 0]]
    assert rows.labels_BL.tolist() == [[IGNORE] * 4 + [7, 8], [IGNORE, 5] + [IGNORE] * 4]
    assert rows.mask_BL.tolist() == [[True] * 6, [True] * 2 + [False] * 4]
    left = expand(Rows(ids, mask.bool()), 3, padding_side='left', max_length=3)
    assert left.ids_BL.tolist() == [[1, IMAGE_ID, IMAGE_ID], [0, 1, 5]] and left.labels_BL is None


def test_rows_with_no_one_and_two_pictures(backbone, pictures):
    rows = [PROMPT, [1, 304, 305], [1, IMAGE_ID, 306, IMAGE_ID, 307]]
    ids, mask = ids_of(*rows)
    shown = pictures[[0, 2, 3]]
    together = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=shown).logits
    zero_for_text = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures).logits
    assert torch.equal(together, zero_for_text)  # picture 1 belongs to the row without one
    for row, (one, pixels) in enumerate(zip(rows, (pictures[:1], None, pictures[2:]), strict=True)):
        alone = backbone.model(input_ids=torch.tensor([one]), pixel_values=pixels).logits[0]
        assert torch.allclose(alone, together[row, :len(alone)], atol=1e-5)


def test_adjacent_pictures(backbone, pictures):
    ids = torch.tensor([[1, IMAGE_ID, IMAGE_ID, 300]])
    spelt = torch.tensor([[1] + [IMAGE_ID] * 2 * SLOTS + [300]])
    short, full = (backbone.model(input_ids=one, pixel_values=pictures[:2]).logits for one in (ids, spelt))
    assert short.shape[1] == 2 + 2 * SLOTS and torch.equal(short, full)


def test_text_only_batch_with_zero_pictures(backbone, pictures):
    ids, mask = ids_of([1, 300, 301, 302], [1, 303])  # padded with 0, which is transformers' picture id here
    plain = backbone.model(input_ids=ids, attention_mask=mask).logits
    given = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures[:2] * 0).logits
    assert torch.allclose(plain[mask.bool()], given[mask.bool()], atol=1e-5)


@pytest.mark.parametrize('pictures_given', [None, 0, 2, 3])
def test_pictures_that_do_not_fit(backbone, pictures, pictures_given):
    pixels = None if pictures_given is None else pictures[:pictures_given]
    with pytest.raises(ValueError, match=f'holds {pictures_given or 0} pictures; the ids show 1'):
        backbone.model(input_ids=torch.tensor([PROMPT]), pixel_values=pixels)


def test_a_cut_inside_a_picture_moves_no_other(backbone, pictures):
    ids, mask = ids_of([1, 300, 301, 302, 303, IMAGE_ID], [1, IMAGE_ID, 304])
    full = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures[:2], labels=ids.clamp(min=0))
    backbone.model.config.tokenizer_model_max_length = 18
    try:
        cut = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures[:2], labels=ids.clamp(min=0))
    finally:
        del backbone.model.config.tokenizer_model_max_length
    assert cut.logits.shape[1] == 18
    assert torch.allclose(cut.logits, full.logits[:, :18], atol=1e-5)


def test_left_padding_of_the_config(backbone, pictures):
    ids, mask = ids_of(PROMPT, [1, 304, 305])
    right = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures[:1]).logits
    backbone.model.config.tokenizer_padding_side = 'left'
    try:
        left = backbone.model(input_ids=ids, attention_mask=mask, pixel_values=pictures[:1]).logits
    finally:
        del backbone.model.config.tokenizer_padding_side
    assert torch.allclose(left[1, -3:], right[1, :3], atol=1e-5)


def test_generate_equals_growing_the_prompt(backbone, pictures):
    grown = list(PROMPT)
    for _ in range(6):
        with torch.no_grad():
            logits = backbone.model(input_ids=torch.tensor([grown]), pixel_values=pictures[:1]).logits
        logits[0, -1, 2] = -torch.inf  # min_new_tokens forbids the end
        grown.append(int(logits[0, -1].argmax()))
    options = dict(max_new_tokens=6, do_sample=False, min_new_tokens=6, pad_token_id=0)
    for ids in (PROMPT, [one for token in PROMPT for one in [token] * (SLOTS if token == IMAGE_ID else 1)]):
        found = backbone.model.generate(torch.tensor([ids]), pixel_values=pictures[:1], **options)
        assert found[0, -6:].tolist() == grown[-6:]


def test_generate_in_a_batch(backbone, pictures):
    options = dict(max_new_tokens=5, do_sample=False, min_new_tokens=5, pad_token_id=0)
    rows = [PROMPT, [1, 304, 305], [1, IMAGE_ID, 306]]
    alone = [backbone.model.generate(input_ids=torch.tensor([row]), pixel_values=pixels, **options)[0, -5:]
             for row, pixels in zip(rows, (pictures[:1], None, pictures[2:3]), strict=True)]
    for side in ('right', 'left'):
        ids, mask = ids_of(*rows, side=side)
        found = backbone.model.generate(input_ids=ids, attention_mask=mask, pixel_values=pictures[[0, 2]], **options)
        assert torch.equal(found[:, -5:], torch.stack(alone))
