"""Qwen-VL's language model: fused c_attn and two-gate MLP under the published parameter names.

The mask and the rotary tables are made once per forward (positions.py) and serve every layer. A row's length, which
decides its NTK step, is the position of its last real token plus one, or its padded length when no positions are
given, as in the published code. Shape suffixes: B rows, L tokens, H hidden, N heads, D head width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from coinkit.backbones.qwen_vl.configuration import QwenVLConfig
from coinkit.backbones.qwen_vl.positions import QwenVLCache, Rotary, RotaryTable, ntk_steps, row_lengths
from coinkit.backbones.qwen_vl.vision import VisionTower


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class Attention(nn.Module):
    """Causal attention on one fused projection, laid out [q|k|v], heads side by side."""

    is_causal = True
    num_key_value_groups = 1  # read by transformers' attention functions

    def __init__(self, config: QwenVLConfig, layer_idx: int):
        super().__init__()
        self.config, self.layer_idx = config, layer_idx
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x_BLH: Tensor, mask: Tensor | None, rotary: Rotary, cache: DynamicCache | None) -> Tensor:
        heads = (*x_BLH.shape[:2], -1, self.config.kv_channels)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.c_attn(x_BLH).chunk(3, -1))
        cos_q, sin_q, cos_k, sin_k = rotary
        q, k = _rotated(q, cos_q, sin_q), _rotated(k, cos_k, sin_k)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, _eager)
        y_BLND, _ = attend(self, q, k, v, mask, dropout=0.0, scaling=self.config.kv_channels ** -0.5)
        return self.c_proj(y_BLND.reshape(x_BLH.shape))


def _rotated(x_BNLD: Tensor, cos_B1LD: Tensor, sin_B1LD: Tensor) -> Tensor:
    first, second = x_BNLD.chunk(2, -1)
    return x_BNLD * cos_B1LD + torch.cat((-second, first), -1) * sin_B1LD


def _eager(module: nn.Module, q_BNLD: Tensor, k_BNLD: Tensor, v_BNLD: Tensor, mask: Tensor | None, *, scaling: float,
           dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    scores = q_BNLD @ k_BNLD.transpose(2, 3) * scaling
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)  # in the model's dtype, as published
    return (weights @ v_BNLD).transpose(1, 2), weights


class MLP(nn.Module):
    def __init__(self, config: QwenVLConfig):
        super().__init__()
        half = config.intermediate_size // 2
        self.w1 = nn.Linear(config.hidden_size, half, bias=False)
        self.w2 = nn.Linear(config.hidden_size, half, bias=False)
        self.c_proj = nn.Linear(half, config.hidden_size, bias=False)

    def forward(self, x_BLH: Tensor) -> Tensor:
        return self.c_proj(self.w1(x_BLH) * F.silu(self.w2(x_BLH)))


class Block(GradientCheckpointingLayer):
    def __init__(self, config: QwenVLConfig, layer_idx: int):
        super().__init__()
        self.ln_1 = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = Attention(config, layer_idx)
        self.ln_2 = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x_BLH: Tensor, mask: Tensor | None, rotary: Rotary, past_key_values: DynamicCache | None) -> Tensor:
        x_BLH = x_BLH + self.attn(self.ln_1(x_BLH), mask, rotary, past_key_values)
        return x_BLH + self.mlp(self.ln_2(x_BLH))


class QwenVLPreTrainedModel(PreTrainedModel):
    config: QwenVLConfig
    base_model_prefix = 'transformer'
    supports_gradient_checkpointing = True
    _no_split_modules = ['Block', 'VisionBlock']
    _skip_keys_device_placement = ['past_key_values']
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, (Attention, MLP)):  # the residual branches start smaller, as published
            deep = self.config.initializer_range / math.sqrt(2 * self.config.num_hidden_layers)
            init.normal_(module.c_proj.weight, 0.0, deep)
        elif hasattr(module, 'init_own_weights'):
            module.init_own_weights()


class QwenVLModel(QwenVLPreTrainedModel):
    """The decoder; `visual` sits in it under the published name but is run by its owner."""

    def __init__(self, config: QwenVLConfig):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.rotary = RotaryTable(config)
        self.h = nn.ModuleList([Block(config, index) for index in range(config.num_hidden_layers)])
        self.ln_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.visual = VisionTower(config)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.wte = value

    def new_cache(self) -> QwenVLCache:
        return QwenVLCache(self.config)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor | None = None,
                attention_mask: Tensor | None = None, position_ids: Tensor | None = None,
                past_key_values: QwenVLCache | None = None, use_cache: bool | None = None,
                **_: Any) -> BaseModelOutputWithPast:
        x_BLH = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.new_cache() if use_cache and past_key_values is None else past_key_values
        past = cache.get_seq_length() if cache is not None else 0
        of_rows = None if position_ids is None else attention_mask
        if position_ids is None:
            position_ids = torch.arange(past, past + x_BLH.shape[1], device=x_BLH.device)[None]
        rotary = self.rotary(x_BLH, position_ids, self._ntk_step(position_ids, of_rows, len(x_BLH), cache, past))
        mask = create_causal_mask(config=self.config, inputs_embeds=x_BLH, attention_mask=attention_mask,
                                  past_key_values=cache)
        for block in self.h:
            x_BLH = block(x_BLH, mask, rotary, past_key_values=cache)
        return BaseModelOutputWithPast(last_hidden_state=self.ln_f(x_BLH), past_key_values=cache)

    def _ntk_step(self, positions_BL: Tensor, attention_mask: Tensor | None, rows: int, cache: DynamicCache | None,
                  past: int) -> Tensor | None:
        """Each row's NTK step: none in training, the prompt's own at prefill, and the prompt's while it decodes."""
        if self.training or not self.config.use_dynamic_ntk:
            return None
        if cache is not None and not isinstance(cache, QwenVLCache):
            raise ValueError(f'Qwen-VL needs its own cache for dynamic NTK (QwenVLCache), got {type(cache).__name__}.')
        if past and cache.ntk_step_B is not None:
            return cache.ntk_step_B
        step_B = ntk_steps(row_lengths(positions_BL, attention_mask), self.config.seq_length).expand(rows)
        if cache is not None:
            cache.ntk_step_B = step_B
        return step_B
