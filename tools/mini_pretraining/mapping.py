"""The first weights of mini Qwen-VL and mini MiniGPT-v2: mini-LLaVA's, mapped tensor by tensor.

The language models are the same network under other names, so they are copied exactly. The towers differ in small ways
(Qwen-VL's has no class token, MiniGPT-v2's no norm before its blocks, both have the exact GELU); what the copies get
wrong `warm_start.py` mends. Shape suffixes: W tower width, H width of the language model, V vocabulary, N pictures' tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tools.mini_pretraining import gather

Weights = Mapping[str, Tensor]
LLAVA_SPECIALS = 5  # <pad> <s> </s> <unk> <image> come before the byte pairs, whose order the ranks file shares
SHARP = 14.0  # of the resampler's position scores: the neighbour of the wanted patch gets e^-18
FREQUENCIES = 16  # of the position table's 64 a query looks for; the others change little over eight patches


def qwen_from_llava(model: nn.Module, llava: Weights, _: Tensor) -> None:
    """Fill a QwenVLForConditionalGeneration; the resampler copies patch i to slot i."""
    state = {**_qwen_language(llava, model.config), **_qwen_tower(llava), **_qwen_resampler(model)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith('transformer.visual.') for name in missing), (missing, unexpected)


def _qwen_language(llava: Weights, config: object) -> dict[str, Tensor]:
    state = {}
    for layer in range(config.num_hidden_layers):
        old, new = f'model.language_model.layers.{layer}.', f'transformer.h.{layer}.'
        qkv = torch.cat([llava[f'{old}self_attn.{name}_proj.weight'] for name in 'qkv'])
        state |= {f'{new}attn.c_attn.weight': qkv, f'{new}attn.c_attn.bias': torch.zeros(len(qkv)),
                  f'{new}attn.c_proj.weight': llava[f'{old}self_attn.o_proj.weight'],
                  f'{new}mlp.w1.weight': llava[f'{old}mlp.up_proj.weight'],
                  f'{new}mlp.w2.weight': llava[f'{old}mlp.gate_proj.weight'],
                  f'{new}mlp.c_proj.weight': llava[f'{old}mlp.down_proj.weight'],
                  f'{new}ln_1.weight': llava[f'{old}input_layernorm.weight'],
                  f'{new}ln_2.weight': llava[f'{old}post_attention_layernorm.weight']}
    rows = _qwen_rows(llava['model.language_model.embed_tokens.weight'], config.vocab_size)
    return state | {'transformer.ln_f.weight': llava['model.language_model.norm.weight'],
                    'transformer.wte.weight': rows, 'lm_head.weight': rows.clone()}


def _qwen_rows(rows_VH: Tensor, vocab_size: int) -> Tensor:
    """Byte pairs keep their rows; end tokens start as </s>, <|im_start|> as <s>, the others as the mean row."""
    pairs_VH, (bos_H, eos_H) = rows_VH[LLAVA_SPECIALS:], rows_VH[1:3]
    specials_VH = pairs_VH.mean(0).expand(vocab_size - len(pairs_VH), -1).clone()
    specials_VH[0], specials_VH[1], specials_VH[2] = eos_H, bos_H, eos_H
    return torch.cat((pairs_VH, specials_VH))


def _qwen_tower(llava: Weights) -> dict[str, Tensor]:
    new, old = 'transformer.visual.', 'model.vision_tower.'
    state = {f'{new}conv1.weight': llava[f'{old}embeddings.patch_embedding.weight'],
             f'{new}positional_embedding': llava[f'{old}embeddings.position_embedding.weight'][1:]}
    for kind in ('weight', 'bias'):
        state[f'{new}ln_pre.{kind}'] = llava[f'{old}pre_layrnorm.{kind}']
        for layer in range(_layers(llava)):
            a, b = f'{old}encoder.layers.{layer}.', f'{new}transformer.resblocks.{layer}.'
            parts = [llava[f'{a}self_attn.{name}_proj.{kind}'].unflatten(0, (-1, HEAD)) for name in 'qkv']
            state |= {f'{b}attn.in_proj.{kind}': torch.stack(parts, 1).flatten(0, 2),  # [q|k|v] of each head
                      f'{b}attn.out_proj.{kind}': llava[f'{a}self_attn.out_proj.{kind}'],
                      f'{b}mlp.c_fc.{kind}': llava[f'{a}mlp.fc1.{kind}'],
                      f'{b}mlp.c_proj.{kind}': llava[f'{a}mlp.fc2.{kind}'],
                      f'{b}ln_1.{kind}': llava[f'{a}layer_norm1.{kind}'],
                      f'{b}ln_2.{kind}': llava[f'{a}layer_norm2.{kind}']}
    return state


HEAD = 32  # width of a tower's head


def _layers(llava: Weights) -> int:
    return 1 + max(int(name.split('.')[4]) for name in llava if name.startswith('model.vision_tower.encoder.layers.'))


def _qwen_resampler(model: nn.Module) -> dict[str, Tensor]:
    """Queries and keys see nothing but positions, on dimensions the pictures' content keeps away from."""
    resampler = model.transformer.visual.attn_pool
    wide, content = resampler.kv_proj.weight.shape
    used = _position_dimensions(wide)
    free = [index for index in range(wide) if index not in set(sum(used, []))]
    assert len(free) >= content
    kv_HW, norm_H = torch.zeros(wide, content), torch.zeros(wide)
    kv_HW[free[:content]] = torch.eye(content)
    norm_H[free[:content]] = 1.0
    look_HH = torch.zeros(wide, wide)
    for head, dimensions in enumerate(used):
        look_HH[range(head * wide // 2, head * wide // 2 + len(dimensions)), dimensions] = SHARP
    name = 'transformer.visual.'
    return {f'{name}attn_pool.kv_proj.weight': kv_HW, f'{name}attn_pool.ln_kv.weight': norm_H,
            f'{name}attn_pool.ln_q.weight': torch.full((wide,), 1e-3),
            f'{name}attn_pool.attn.in_proj_weight': torch.cat((look_HH, look_HH, torch.eye(wide))),
            f'{name}attn_pool.attn.out_proj.weight': torch.eye(wide), f'{name}proj': torch.eye(wide)}


def _position_dimensions(wide: int) -> list[list[int]]:
    """For each of two heads the dimensions of its share of the fastest sines and cosines, columns and rows."""
    quarter = wide // 4
    return [[part * quarter + i for part in range(4) for i in range(head, FREQUENCIES, 2)] for head in range(2)]


def minigpt_from_llava(model: nn.Module, llava: Weights, pixels_P: Tensor) -> None:
    """Fill a MiniGPTv2ForConditionalGeneration but for llama_proj, which `warm_start.py` fits."""
    language = {name.replace('model.language_model.', 'llama_model.model.'): value
                for name, value in llava.items() if name.startswith('model.language_model.')}
    language['llama_model.lm_head.weight'] = llava['lm_head.weight']
    visual = model.visual_encoder
    rows_TW, weight_W = gather.embeddings(llava, pixels_P)
    small_CE, mean_E = gather.principal_components(pixels_P, visual.patch_embed.proj.kernel_size[0])
    tower = gather.fetching_block(visual, small_CE, mean_E, rows_TW, weight_W) | gather.later_blocks(llava, _layers(llava))
    state = language | {f'visual_encoder.{name}': value for name, value in tower.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    late = ('llama_proj.', 'ln_vision.')
    assert not unexpected and all(name.startswith(late) for name in missing), (missing, unexpected)
