"""mini-LLaVA's weights under other names: the language models are the same function, the towers nearly so."""

from __future__ import annotations

import pytest
import torch

from coinkit.backbones.qwen_vl.vision import resized
from coinkit.registry import BACKBONES
from tools.mini_pretraining import gather, warm_start
from tools.mini_pretraining.model import ARCHITECTURES, SHIPPED, MiniModel

LLAVA = SHIPPED / 'llava'


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def llava():
    return BACKBONES.build(dict(type='Llava', checkpoint='mini', dtype='float32'))


@pytest.fixture(scope='module')
def mapped():
    """Both backbones with mapped weights, their towers not taught."""
    built = {arch: BACKBONES.build(dict(type=ARCHITECTURES[arch].backbone, checkpoint=str(SHIPPED / arch), dtype='float32',
                                        init_seed=0)) for arch in warm_start.MAPS}
    for arch, backbone in built.items():
        backbone.model.requires_grad_(False)
        warm_start.warm_start(backbone, arch, LLAVA, teach=False)
    return built


@pytest.mark.parametrize('arch', warm_start.MAPS)
def test_the_language_model_is_the_same_function(arch, mapped, llava):
    embeds_BLH = llava.embed_tokens(torch.arange(5, 505).view(10, 50))
    mine, theirs = (one.decoder(inputs_embeds=embeds_BLH).last_hidden_state for one in (mapped[arch], llava))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_a_token_keeps_its_row_in_the_other_vocabulary(mapped, llava):
    text = 'the sign says 0.25 ; large'
    mine, theirs = (one.embed_tokens(torch.tensor(one.codec.encode(text))) for one in (mapped['qwen_vl'], llava))
    assert torch.equal(mine, theirs)
    head, rows = mapped['qwen_vl'].head.weight, mapped['qwen_vl'].embed_tokens.weight
    assert torch.equal(head, rows) and head.data_ptr() != rows.data_ptr()


def test_slot_i_of_the_resampler_reads_patch_i(mapped):
    pool = mapped['qwen_vl'].model.transformer.visual.attn_pool
    width, heads = pool.query.shape[1], pool.attn.heads
    position_SH = resized(pool.pos_embed, 64)
    kv_SH = pool.ln_kv(pool.kv_proj(torch.randn(64, 192))) + position_SH
    query_SH = pool.ln_q(pool.query) + position_SH
    weights = pool.attn.in_proj_weight
    q, k = (torch.nn.functional.linear(x, weight).unflatten(-1, (heads, -1)).transpose(0, 1)
            for x, weight in ((query_SH, weights[:width]), (kv_SH, weights[width:2 * width])))
    attention = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
    assert (attention.diagonal(dim1=1, dim2=2) > 0.9).all()


@pytest.fixture(scope='module')
def pictures(mapped):
    return warm_start._pictures(mapped['minigpt_v2'])(0, 16)


@pytest.mark.parametrize('arch', warm_start.MAPS)
def test_features_are_near_before_any_teaching(arch, mapped, llava, pictures):
    teacher = warm_start.Teacher(llava.model)
    warm_start.STUDENTS[arch](mapped[arch].model).before(warm_start._pictures(mapped[arch])(1, 64), teacher)
    assert warm_start.apart(mapped[arch].features(pictures), teacher(pictures)[1]) < 0.4


def test_the_fetching_block_puts_a_patch_behind_every_token(mapped, llava, pictures):
    tower, old = mapped['minigpt_v2'].model.visual_encoder, llava.model.model.vision_tower
    states_PTW = torch.cat((tower.cls_token.expand(len(pictures), -1, -1), tower.patch_embed(pictures)), 1)
    states_PTW = tower.blocks[0](states_PTW + tower.pos_embed)
    rows_TW, kernel_W = gather.embeddings(llava.model.state_dict(), pictures)
    wanted_PSW = torch.nn.functional.conv2d(pictures, kernel_W, stride=8).flatten(2).transpose(1, 2) + rows_TW[1:]
    for place in range(4):
        assert warm_start.apart(states_PTW[:, 1 + place::4], wanted_PSW) < 0.05
    clip_PW = old.pre_layrnorm(old.embeddings(pictures))[:, 0]
    torch.testing.assert_close(states_PTW[:, 0], clip_PW, rtol=0.02, atol=0.02)


@pytest.mark.parametrize('arch', warm_start.MAPS)
def test_teaching_starts_the_whole_way(arch, monkeypatch):
    for name, value in (('STEPS', dict.fromkeys(warm_start.MAPS, 3)), ('BATCH', 4), ('FIT_PICTURES', 32), ('LR', 1e-5)):
        monkeypatch.setattr(warm_start, name, value)
    lost: list[float] = []
    monkeypatch.setattr(warm_start.logger, 'info', lambda message, *numbers: lost.append(numbers[-1]))
    model = MiniModel.start(arch, 'llava', seed=0, freeze_vision=False, device='cpu')
    assert model.origin.startswith('mini-LLaVA sha256:') and model.origin.endswith('tower taught 3 x 4')
    assert len(lost) == 2 and max(lost) < 1
    assert all(one.requires_grad for one in model.model.parameters())
