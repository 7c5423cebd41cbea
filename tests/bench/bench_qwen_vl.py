"""Qwen-VL's language model against `Qwen2ForCausalLM` of the same size: `python tests/bench/bench_qwen_vl.py [--gpu]`.

Forward and backward in training mode with a loss over all positions. Both hold the same weights, and their logits and
input gradients are compared before anything is timed; they take turns in one process and the median of each is taken.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from coinkit.backbones.qwen_vl.configuration import QwenVLConfig
from coinkit.backbones.qwen_vl.modeling import QwenVLForConditionalGeneration
from coinkit.testing.timing import take_turns

CPU = dict(hidden=512, heads=8, layers=4, vocabulary=2048, rows=2, tokens=256, rounds=15, device='cpu', dtype=torch.float32)
GPU = dict(hidden=4096, heads=32, layers=16, vocabulary=32000, rows=4, tokens=2048, rounds=20, device='cuda',
           dtype=torch.bfloat16)
VISUAL = {'layers': 1, 'width': 32, 'heads': 2}  # takes no part


def models(*, hidden: int, heads: int, layers: int, vocabulary: int, device: str,
           dtype: torch.dtype) -> dict[str, nn.Module]:
    """The two models with the same random weights."""
    shared = dict(hidden_size=hidden, num_attention_heads=heads, num_hidden_layers=layers, vocab_size=vocabulary)
    inner = hidden * 43 // 16  # the release's proportion
    torch.manual_seed(0)
    own = QwenVLForConditionalGeneration._from_config(
        QwenVLConfig(**shared, kv_channels=hidden // heads, intermediate_size=2 * inner, visual=VISUAL),
        attn_implementation='sdpa', dtype=dtype)
    theirs = Qwen2ForCausalLM._from_config(
        Qwen2Config(**shared, num_key_value_heads=heads, intermediate_size=inner, rms_norm_eps=1e-6, rope_theta=1e4,
                    max_position_embeddings=8192), attn_implementation='sdpa', dtype=dtype)
    theirs.load_state_dict(as_qwen2(own.state_dict()), strict=True)
    return {'own': own.to(device).train(), 'qwen2': theirs.to(device).train()}


def as_qwen2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The language model's tensors under the names of Qwen2, c_attn in its three parts."""
    names = {'ln_1': 'input_layernorm', 'ln_2': 'post_attention_layernorm', 'attn.c_proj': 'self_attn.o_proj',
             'mlp.w2': 'mlp.gate_proj', 'mlp.w1': 'mlp.up_proj', 'mlp.c_proj': 'mlp.down_proj'}
    found = {'model.embed_tokens.weight': state['transformer.wte.weight'], 'lm_head.weight': state['lm_head.weight'],
             'model.norm.weight': state['transformer.ln_f.weight']}
    for key, value in state.items():
        if not key.startswith('transformer.h.'):
            continue
        number, name = key.removeprefix('transformer.h.').split('.', 1)
        name, kind = name.rsplit('.', 1)
        if name == 'attn.c_attn':
            for part, letter in zip(value.chunk(3), 'qkv', strict=True):
                found[f'model.layers.{number}.self_attn.{letter}_proj.{kind}'] = part
        else:
            found[f'model.layers.{number}.{names[name]}.{kind}'] = value
    return found


def embed(model: nn.Module, ids_BL: Tensor) -> Tensor:
    return model.get_input_embeddings()(ids_BL).detach().requires_grad_()


def check_equal(both: dict[str, nn.Module], ids_BL: Tensor) -> None:
    results = []
    for model in both.values():
        embeds_BLH = embed(model, ids_BL)
        found = model(inputs_embeds=embeds_BLH, labels=ids_BL, use_cache=False)
        found.loss.backward()
        results.append((found.logits, found.loss, embeds_BLH.grad))
        model.zero_grad()
    allowed = 1e-4 if results[0][0].dtype == torch.float32 else 5e-2
    for one, other in zip(*results, strict=True):
        error = (one.float() - other.float()).norm() / other.float().norm()
        assert error < allowed, f'the two models differ by {error:.1e}, allowed {allowed:.0e}'


def measure(*, rows: int, tokens: int, rounds: int, device: str, **size) -> dict[str, float]:
    """Milliseconds of a forward and backward of each, and their ratio."""
    both = models(device=device, **size)
    ids_BL = torch.randint(0, size['vocabulary'], (rows, tokens), device=device)
    check_equal(both, ids_BL)
    ms = take_turns({name: partial(_step, model, ids_BL) for name, model in both.items()}, rounds=rounds, device=device)
    return {**{f'{name}_ms': value for name, value in ms.items()}, 'own/qwen2': ms['own'] / ms['qwen2']}


def _step(model: nn.Module, ids_BL: Tensor) -> None:
    model.zero_grad()
    model(input_ids=ids_BL, labels=ids_BL, use_cache=False).loss.backward()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gpu', action='store_true', help='layers of the 7B model on one GPU, bfloat16')
    size = GPU if parser.parse_args().gpu else CPU
    result = {name: round(value, 3) for name, value in measure(**size).items()}
    shown = {name: str(value) for name, value in size.items()}
    sys.stdout.write(json.dumps({'size': shown, **result}, indent=1) + '\n')
