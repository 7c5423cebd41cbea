"""MiniGPT-v2's picture tower: EVA ViT-G cut after 39 of its 40 blocks, without final norm.

Parameter names are the official ones below `visual_encoder.`. The q and v biases are parameters of their own; the k
bias is zero. Attention is torch's fused kernel whatever the language model uses.
Shape suffixes: P pictures, T patches and CLS, W width, K heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer


class EvaVisionTransformer(nn.Module):
    """Pixels (P, 3, side, side) to states (P, 1 + patches, W), CLS first."""

    def __init__(self, sizes: Mapping[str, Any], norm_eps: float):
        super().__init__()
        width, side = sizes['embed_dim'], sizes['img_size']
        self.side, grid = side, side // sizes['patch_size']
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.patch_embed = PatchEmbed(sizes['patch_size'], width)
        self.blocks = nn.ModuleList(EvaBlock(sizes, norm_eps) for _ in range(sizes['depth']))

    def forward(self, pixels_P: Tensor) -> Tensor:
        if pixels_P.dim() != 4 or tuple(pixels_P.shape[1:]) != (3, self.side, self.side):
            raise ValueError(f'pixel_values have shape {tuple(pixels_P.shape)}, expected '
                             f'(pictures, 3, {self.side}, {self.side}).')
        patches_PTW = self.patch_embed(pixels_P)
        cls_P1W = self.cls_token.to(patches_PTW.dtype).expand(len(patches_PTW), -1, -1)
        states_PTW = torch.cat([cls_P1W, patches_PTW], 1) + self.pos_embed
        for block in self.blocks:
            states_PTW = block(states_PTW)
        return states_PTW


class PatchEmbed(nn.Module):
    """One token per patch, row by row."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, pixels_P: Tensor) -> Tensor:
        return self.proj(pixels_P).flatten(2).transpose(1, 2)


class EvaBlock(GradientCheckpointingLayer):
    """Pre-norm attention and MLP; recomputed in the backward pass when gradient checkpointing is on."""

    def __init__(self, sizes: Mapping[str, Any], norm_eps: float):
        super().__init__()
        width = sizes['embed_dim']
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = EvaAttention(width, sizes['num_heads'], biased=sizes['qkv_bias'])
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = EvaMLP(width, int(width * sizes['mlp_ratio']))

    def forward(self, states_PTW: Tensor) -> Tensor:
        states_PTW = states_PTW + self.attn(self.norm1(states_PTW))
        return states_PTW + self.mlp(self.norm2(states_PTW))


class EvaAttention(nn.Module):
    """Full attention; the rows of `qkv` are the blocks Q, K and V."""

    def __init__(self, width: int, heads: int, *, biased: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        if biased:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        else:
            self.q_bias = self.v_bias = None

    def forward(self, states_PTW: Tensor) -> Tensor:
        pictures, tokens, _ = states_PTW.shape
        qkv_PTW = self.qkv(states_PTW)  # through the module, which an adapter may wrap
        if self.q_bias is not None:
            qkv_PTW = qkv_PTW + torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv_PT3KD = qkv_PTW.view(pictures, tokens, 3, self.heads, -1)
        q_PKTD, k_PKTD, v_PKTD = qkv_PT3KD.permute(2, 0, 3, 1, 4)
        mixed_PKTD = F.scaled_dot_product_attention(q_PKTD, k_PKTD, v_PKTD)
        return self.proj(mixed_PKTD.transpose(1, 2).flatten(2))


class EvaMLP(nn.Module):
    """Two layers with the exact GELU."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, states_PTW: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(states_PTW)))


class Fp32LayerNorm(nn.LayerNorm):
    """LayerNorm computed in fp32 whatever the states and weights are in; the result has the states' dtype."""

    def forward(self, states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, enabled=False):
            normed = F.layer_norm(states.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(states.dtype)
