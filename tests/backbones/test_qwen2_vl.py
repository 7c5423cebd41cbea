"""What is special about the Qwen2-VL family: positions of three axes, pictures of any shape, its published layout."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from coinkit.backbones.qwen2_vl import Qwen2VL, Qwen25VL
from coinkit.errors import BadImage, ConfigError, DataError
from tests.backbones.tiny_transformers import MIXED, QWEN, Plain, asked, batch_of, load, official, sample

WIDE = [sample('what is it?', 'red', images=[Plain('red', (60, 12))]), MIXED[3], MIXED[2]]


@pytest.mark.parametrize('kind', QWEN)
def test_every_row_says_which_tokens_are_pictures(backbone_of, kind):
    backbone = backbone_of(kind)
    for training in (True, False):
        batch = batch_of(backbone, [one if training else asked(one) for one in WIDE], training=training)
        kinds_BL = batch.extras['mm_token_type_ids']
        assert torch.equal(kinds_BL == 1, batch.input_ids_BL == backbone.model.config.image_token_id)
        assert kinds_BL.any(1).tolist() == [True, True, False]


def test_without_token_types_qwen25_answers_differently(backbone_of):
    """The trap that this backbone guards against: no error, other positions, other logits."""
    backbone = backbone_of('qwen2_5_vl')
    batch = batch_of(backbone, WIDE[:2])
    given = official(batch)
    with torch.no_grad():
        right = backbone.model(**given).logits
        blind = backbone.model(**{name: value for name, value in given.items() if name != 'mm_token_type_ids'}).logits
        ours = backbone.forward(batch).logits_NV
    kept = batch.labels_BL[:, 1:] >= 0
    assert (ours - right[:, :-1][kept]).abs().max() < 1e-5
    assert (ours - blind[:, :-1][kept]).abs().max() > 1e-3


@pytest.mark.parametrize('kind', QWEN)
def test_positions_are_the_models_own(backbone_of, kind):
    backbone = backbone_of(kind)
    batch = batch_of(backbone, [asked(one) for one in WIDE], training=False)
    positions, _ = backbone.model.model.get_rope_index(
        batch.input_ids_BL, mm_token_type_ids=batch.extras['mm_token_type_ids'],
        image_grid_thw=batch.extras['image_grid_thw'], attention_mask=batch.attention_mask_BL)
    assert torch.equal(batch.extras['position_ids'].transpose(0, 1), positions)
    assert (positions[1] != positions[2]).any()  # height and width differ


@pytest.mark.parametrize('kind', QWEN)
def test_positions_follow_the_rows(backbone_of, kind):
    """After rows have left, each of the rest still writes at its own place."""
    backbone = backbone_of(kind)
    batch = batch_of(backbone, [asked(one) for one in WIDE], training=False)
    single = batch_of(backbone, [asked(WIDE[1])], training=False)
    _, rows = backbone.prefill(batch)
    rows.batch_select_indices(torch.tensor([1]))
    _, alone = backbone.prefill(single)
    assert rows.next_B.tolist() == alone.next_B.tolist() != [int(single.attention_mask_BL.sum())]
    token, one = torch.tensor([300]), torch.ones(1, 1, dtype=torch.long)
    together = backbone.decode_step(token, torch.cat([batch.attention_mask_BL[1:2], one], 1), rows)
    apart = backbone.decode_step(token, torch.cat([single.attention_mask_BL, one], 1), alone)
    assert (together - apart).abs().max() < 1e-5 and rows.next_B.tolist() == alone.next_B.tolist()


@pytest.mark.parametrize('kind', QWEN)
def test_pixels_bound_the_tokens(folder_of, kind):
    big = sample('what?', images=[Plain('red', (200, 120))])
    few, many = (load(folder_of(kind), min_pixels=64, max_pixels=most) for most in (256, 4096))
    lengths = [len(one.encode(big, training=False).input_ids_L) for one in (few, many)]
    assert lengths == [one.prompt_length(big) for one in (few, many)] and lengths[0] + 30 < lengths[1]
    grid = many.encode(big, training=False).extras['image_grid_thw'][0]
    assert int(grid.prod()) * 16 <= 4096
    with pytest.raises(ConfigError, match=r'backbone\.min_pixels: 512 is more than max_pixels=256'):
        load(folder_of(kind), min_pixels=512, max_pixels=256)
    with pytest.raises(ConfigError, match=r'backbone\.min_pixels: 5000 is more than max_pixels=1024'):
        load(folder_of(kind), min_pixels=5000)  # 1024: of the folder
    with pytest.raises(ConfigError, match=r'backbone\.max_pixels: 0 given'):
        load(folder_of(kind), max_pixels=0)


def test_bad_pictures_and_texts(backbone_of):
    backbone = backbone_of('qwen2_vl')
    narrow = sample('what?', images=[Plain('red', (900, 4))])
    with pytest.raises(BadImage, match='900 x 4 pixels is too narrow'):
        backbone.encode(narrow, training=False)
    assert backbone.prompt_length(narrow) < 30  # planned without it: encoding decides
    with pytest.raises(DataError, match='record s: the processor cannot write it'):
        backbone.encode(sample('what is <|image_pad|>?', 'red'), training=True)


def test_published_layout(folder_of, tmp_path, backbone_of):
    """Hub files of Qwen2-VL: a flat config, and tensors named before transformers moved them."""
    folder = tmp_path / 'qwen2_vl'
    shutil.copytree(folder_of('qwen2_vl'), folder)
    tensors = load_file(folder / 'model.safetensors')
    old = {name.replace('model.language_model.', 'model.').replace('model.visual.', 'visual.'): value
           for name, value in tensors.items()}
    assert 'model.embed_tokens.weight' in old and 'visual.merger.ln_q.weight' in old
    save_file(old, folder / 'model.safetensors', metadata={'format': 'pt'})
    config = json.loads((folder / 'config.json').read_text())
    text = config.pop('text_config')
    (folder / 'config.json').write_text(json.dumps({**text, **config, 'model_type': 'qwen2_vl'}))
    batch = batch_of(backbone_of('qwen2_vl'), MIXED)
    assert torch.equal(load(folder).forward(batch).logits_NV, backbone_of('qwen2_vl').forward(batch).logits_NV)


def test_another_of_the_family_is_told(folder_of):
    [problem] = Qwen2VL.preflight(str(folder_of('qwen2_5_vl')))
    assert "this looks like Qwen2.5-VL, use type='Qwen25VL'" in str(problem)
    [problem] = Qwen25VL.preflight(str(folder_of('internvl')))
    assert "use type='HFVisionLanguage'" in str(problem)
    assert Qwen25VL.preflight(str(folder_of('qwen2_5_vl'))) == []
