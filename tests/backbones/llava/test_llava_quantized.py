"""LLaVA in 4 and 8 bit through bitsandbytes: what is quantised, how near it stays, and a bank that trains on top."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from coinkit.backbones.llava import Llava
from coinkit.backbones.turns import IMAGE_ID
from coinkit.errors import ConfigError
from coinkit.types import Sample, Turn

KINDS = ('4bit', '8bit')


class Picture:
    key = 'red'

    def load(self) -> Image.Image:
        return Image.new('RGB', (60, 40), 'red')


SAMPLES = [Sample('a', 't', (Picture(),), (Turn('human', 'what is it?'), Turn('gpt', 'a red ball'))),
           Sample('b', 't', (), (Turn('human', 'and what colour?'), Turn('gpt', 'red')))]


@pytest.fixture(scope='module')
def folder(original_folder, tmp_path_factory):
    """The golden model with layers as wide as 4-bit blocks need: multiples of 64, as in every real model."""
    folder = tmp_path_factory.mktemp('wide')
    for file in original_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / 'weights.safetensors')
    for name, one in tensors.items():
        if name.endswith(('gate_proj.weight', 'up_proj.weight')):
            tensors[name] = torch.cat([one, 0.1 * one[:32]])
        if name.endswith('down_proj.weight'):
            tensors[name] = torch.cat([one, 0.1 * one[:, :32]], 1).contiguous()
    save_file(tensors, folder / 'weights.safetensors')
    config = json.loads((folder / 'config.json').read_text()) | {'intermediate_size': 128}
    (folder / 'config.json').write_text(json.dumps(config))
    return folder


@pytest.fixture(scope='module', params=KINDS)
def backbone(request, folder):
    return Llava(str(folder), device='cpu', quantization=request.param)


def batch_of(backbone):
    return backbone.collate([backbone.encode(one, training=True) for one in SAMPLES], padding_side='right')


def linears(backbone, part: str) -> set[str]:
    return {type(one).__name__ for one in backbone.model.get_submodule(part).modules() if 'Linear' in type(one).__name__}


def test_only_the_language_models_linears_are_quantised(backbone):
    assert linears(backbone, backbone.language_model) in ({'Linear4bit'}, {'Linear8bitLt'})
    assert linears(backbone, backbone.vision_tower) == linears(backbone, backbone.projector) == {'Linear'}
    assert type(backbone.head) is torch.nn.Linear and backbone.head.weight.dtype == torch.bfloat16
    assert not any(one.requires_grad for one in backbone.model.parameters())


def test_every_linear_and_its_gradient_stay_near(backbone, folder):
    exact = Llava(str(folder), dtype='float32', device='cpu').model
    generator = torch.Generator()
    for name in (name for name, _ in exact.named_modules() if name.endswith('_proj') and 'language_model' in name):
        ours, wanted = backbone.model.get_submodule(name), exact.get_submodule(name)
        x_ND, twin_ND = (torch.randn(20, wanted.in_features, generator=generator.manual_seed(1)).requires_grad_()
                         for _ in range(2))
        with torch.no_grad():
            ours(x_ND.bfloat16())  # an evaluation first, as in a run: it must not cut off the gradient
        y_NO, wanted_NO = ours(x_ND.bfloat16()).float(), wanted(twin_ND)
        for one in (y_NO, wanted_NO):
            (one * torch.arange(one.shape[1])).sum().backward()
        for near, far in ((y_NO, wanted_NO), (x_ND.grad, twin_ND.grad)):
            assert torch.cosine_similarity(near.flatten(), far.flatten(), dim=0) > 0.99, name
            assert not torch.allclose(near, far, atol=1e-3)


def num_bytes(model) -> int:
    return sum(one.numel() * one.element_size() for one in model.parameters())


@pytest.mark.parametrize('kind, share', [('4bit', 9 / 32), ('8bit', 1 / 2)])
def test_weights_take_less_memory_and_the_plan_knows(folder, kind, share):
    loaded = Llava(str(folder), device='cpu', quantization=kind)
    layers, plain = loaded.decoder.layers, Llava(str(folder), device='meta').decoder.layers
    assert num_bytes(layers) < 0.51 * num_bytes(plain)
    planned = Llava(str(folder), device='meta', quantization=kind)
    assert abs(num_bytes(planned.decoder.layers) - share * num_bytes(plain)) < 0.01 * num_bytes(plain)
    assert num_bytes(planned.model.model.vision_tower) == num_bytes(loaded.model.model.vision_tower)
    assert planned.head.weight.shape == loaded.head.weight.shape


@pytest.mark.parametrize('checkpointing', [False, True])
def test_a_bank_trains_on_top(folder, checkpointing):
    for kind in KINDS:
        backbone = Llava(str(folder), device='cpu', quantization=kind)
        backbone.forward(batch_of(backbone))  # an evaluation first, as in a run: it must not cut off the gradients
        backbone.model.train()
        before = backbone.forward(batch_of(backbone)).token_loss_N.detach()
        bank = backbone.insert_bank()
        bank.add('task', rank=4, scale=2.0, generator=torch.Generator().manual_seed(0))
        backbone.set_gradient_checkpointing(checkpointing)
        frozen = {name: one.detach().clone() for name, one in backbone.model.named_parameters() if not one.requires_grad}
        parameters = list(bank.trainable_parameters().values())
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        losses = []
        for _ in range(4):
            output = backbone.forward(batch_of(backbone))
            losses.append(output.token_loss_N.mean().item())
            output.token_loss_N.mean().backward()
            assert all(one.grad is not None and one.grad.isfinite().all() for one in parameters)
            optimizer.step()
            optimizer.zero_grad()
        assert abs(losses[0] - before.mean().item()) < 1e-6  # B is zero at first
        assert losses[-1] < losses[0] - 0.1
        now = dict(backbone.model.named_parameters())
        assert all(torch.equal(now[name], one) for name, one in frozen.items())


def test_prefill_and_steps(backbone):
    query = [backbone.encode(Sample('q', 't', one.images, one.turns[:1]), training=False) for one in SAMPLES]
    batch = backbone.collate(query, padding_side='left')
    logits_BV, cache = backbone.prefill(batch)
    mask = torch.cat([batch.attention_mask_BL, torch.ones(2, 1, dtype=torch.long)], 1)
    next_BV = backbone.decode_step(logits_BV.argmax(-1), mask, cache)
    assert next_BV.shape == (2, 562) and next_BV.isfinite().all() and (batch.input_ids_BL == IMAGE_ID).any()


def test_missing_package_is_said_before_loading(folder, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match="backbone.quantization: '4bit' needs bitsandbytes.*coinkit\\[quant\\]"):
        Llava(str(folder), quantization='4bit')
    with pytest.raises(ConfigError, match="unknown quantization '3bit'"):
        Llava(str(folder), quantization='3bit')
