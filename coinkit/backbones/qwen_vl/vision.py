"""Qwen-VL's picture part: a ViT and a resampler that reads it into a fixed number of positions.

Layout quirks of the release are kept: the ViT's `in_proj` is [q|k|v] per head, the resampler's is [Q|K|V] for all heads;
stored position tables are resized to the patch grid at every forward. `pos_embed` is stored and never trained, so it is
a buffer. Shape suffixes: P pictures, S patches or queries, W width, H output width, T entries of a position table.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from coinkit.backbones.qwen_vl.configuration import QwenVLConfig

EPS = 1e-6


def resized(table_TW: Tensor, num_patches: int) -> Tensor:
    """A square table of positions at the size of the patch grid, bicubic in float32."""
    if len(table_TW) == num_patches:
        return table_TW
    side, target = int(len(table_TW) ** 0.5), int(num_patches ** 0.5)
    grid = table_TW.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (target, target), mode='bicubic', align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(0, 2).to(table_TW.dtype)


def sine_positions(side: int, width: int) -> Tensor:
    """The 2-D table (side * side, width): columns in the first half, rows in the second, sines before cosines."""
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * omega
    line = torch.cat((angles.sin(), angles.cos()), 1)
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, 0)
    return torch.cat((columns, rows), 1).float()


class VisionAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_PSW: Tensor) -> Tensor:
        pictures, patches, width = x_PSW.shape
        per_head = self.in_proj(x_PSW).view(pictures, patches, self.heads, 3 * width // self.heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(*per_head.chunk(3, -1))
        return self.out_proj(y.transpose(1, 2).reshape(x_PSW.shape))


class VisionMLP(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x_PSW: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x_PSW)))


class VisionBlock(GradientCheckpointingLayer):
    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, EPS)
        self.ln_2 = nn.LayerNorm(width, EPS)
        self.attn = VisionAttention(width, heads)
        self.mlp = VisionMLP(width, inner)

    def forward(self, x_PSW: Tensor) -> Tensor:
        x_PSW = x_PSW + self.attn(self.ln_1(x_PSW))
        return x_PSW + self.mlp(self.ln_2(x_PSW))


class VisionBlocks(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, layers: int):
        super().__init__()
        self.resblocks = nn.ModuleList([VisionBlock(width, heads, inner) for _ in range(layers)])


class CrossAttention(nn.Module):
    """Multi-head attention with separate inputs and one stacked weight, named as torch's own module names them."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def init_own_weights(self) -> None:
        init.xavier_uniform_(self.in_proj_weight)
        init.zeros_(self.in_proj_bias)

    def forward(self, *query_key_value: Tensor) -> Tensor:
        parts = zip(query_key_value, self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x, weight, bias in parts)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """Learned queries that read the patches; queries and keys carry positions, values do not."""

    def __init__(self, n_queries: int, width: int, kv_width: int):
        super().__init__()
        self.side = int(n_queries ** 0.5)
        self.register_buffer('pos_embed', sine_positions(self.side, width))
        self.query = nn.Parameter(torch.zeros(n_queries, width))
        self.kv_proj = nn.Linear(kv_width, width, bias=False) if kv_width != width else nn.Identity()
        self.attn = CrossAttention(width, max(width // 128, 1))
        self.ln_q = nn.LayerNorm(width, EPS)
        self.ln_kv = nn.LayerNorm(width, EPS)

    def init_own_weights(self) -> None:
        init.normal_(self.query, 0.0, 0.02)
        init.copy_(self.pos_embed, sine_positions(self.side, self.query.shape[1]))

    def forward(self, x_PSW: Tensor) -> Tensor:
        kv_PSH = self.ln_kv(self.kv_proj(x_PSW))
        query_TH = self.ln_q(self.query) + self.pos_embed.to(self.query.dtype)
        query_PTH = query_TH.expand(len(x_PSW), -1, -1)
        return self.attn(query_PTH, kv_PSH + resized(self.pos_embed, x_PSW.shape[1]).to(kv_PSH.dtype), kv_PSH)


class VisionTower(nn.Module):
    """Pixels to features in the language model's width: ViT, resampler, norm and a last projection."""

    def __init__(self, config: QwenVLConfig):
        super().__init__()
        visual = config.visual
        width, out = visual['width'], visual['output_dim']
        self.image_size = visual['image_size']
        self.conv1 = nn.Conv2d(3, width, visual['patch_size'], visual['patch_size'], bias=False)
        self.positional_embedding = nn.Parameter(torch.zeros(visual['position_side'] ** 2, width))
        self.ln_pre = nn.LayerNorm(width, EPS)
        self.transformer = VisionBlocks(width, visual['heads'], int(width * visual['mlp_ratio']), visual['layers'])
        self.attn_pool = Resampler(visual['n_queries'], out, width)
        self.ln_post = nn.LayerNorm(out, EPS)
        self.proj = nn.Parameter(torch.zeros(out, out))

    def init_own_weights(self) -> None:
        init.normal_(self.positional_embedding, 0.0, self.positional_embedding.shape[1] ** -0.5)
        init.normal_(self.proj, 0.0, len(self.proj) ** -0.5)

    def forward(self, pixels_P: Tensor) -> Tensor:
        frozen = not any(one.requires_grad for name, one in self.named_parameters() if not name.startswith('attn_pool.'))
        with torch.no_grad() if frozen else contextlib.nullcontext():
            states_PSW = self.patches(pixels_P)
        return self.ln_post(self.attn_pool(states_PSW)) @ self.proj

    def patches(self, pixels_P: Tensor) -> Tensor:
        """States of every patch after the last block; there is no norm behind it."""
        if pixels_P.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(f'pixel_values are {list(pixels_P.shape)}, expected pictures of '
                             f'[3, {self.image_size}, {self.image_size}]')
        x_PSW = self.conv1(pixels_P.to(self.conv1.weight.dtype)).flatten(2).transpose(1, 2)
        x_PSW = self.ln_pre(x_PSW + resized(self.positional_embedding, x_PSW.shape[1]))
        for block in self.transformer.resblocks:
            x_PSW = block(x_PSW)
        return x_PSW
