"""mini MiniGPT-v2's first weights: an EVA tower on 4-pixel patches that computes what mini-LLaVA's computes on 8-pixel ones.

MiniGPT-v2 makes one token of four neighbours in a row of patches, so 256 patches give the 64 tokens that mini-LLaVA's
language model reads. A first block of the tower fetches: the four neighbours behind token i all become patch i of
mini-LLaVA's grid, and the blocks after it are mini-LLaVA's. In that block a state is
    32 principal components of the own pixels | the 8 bits of the own place, each as +1 and -1 | the class token's flag |
    the components of the wanted patch's four quarters, fetched by four heads
with the bits far larger than the rest, so that the block's two norms only scale. Its MLP then replaces the state: pairs
of GELUs are linear (gelu(x) - gelu(-x) = x), and one unit per place looks up the position's row.
Shape suffixes: W tower width, C components, U units of the MLP, Q quarters, T places, E pixels of a small patch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COMPONENTS, BITS = 32, 8
BIT, FLAG, FETCHED = COMPONENTS, COMPONENTS + 2 * BITS, COMPONENTS + 2 * BITS + 2  # first dimension of each part
USED = FETCHED + 4 * COMPONENTS
SMALL = 0.02  # of the pixels' components beside bits of size 1
GAP = 5.0  # score of one bit that fits; a wrong one costs twice as much
LOOK_UP = 6.0  # input of a look-up unit at its own place; minus that at every other
# bits of a place, from row 8s to row 1s, then columns: where the quarter of the wanted patch has the query's bit
WANTED_BITS = {0: 0, 1: 1, 2: 2, 4: 3, 5: 4, 6: 5}
ROW_QUARTER, COLUMN_QUARTER = 3, 7


def principal_components(pixels_P: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """The main directions (C, E) of small patches of pictures, and their mean."""
    patches_NE = pixels_P.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    mean_E = patches_NE.mean(0)
    directions = torch.linalg.svd((patches_NE - mean_E).T @ (patches_NE - mean_E))[0]
    return directions[:, :COMPONENTS].T.contiguous(), mean_E


def fetching_block(visual: nn.Module, small_CE: Tensor, mean_E: Tensor, rows_TW: Tensor,
                   weight_W: Tensor) -> dict[str, Tensor]:
    """Embeddings and block 0 of `visual`: after it, token i of four holds `weight_W` of patch i plus `rows_TW` of it.

    `rows_TW` starts with the class token's row, `weight_W` is a convolution (W, 3, 8, 8).
    """
    block, width = visual.blocks[0], rows_TW.shape[1]
    sigma = (2 * BITS / width) ** 0.5  # spread of a state: that of its bits
    conv_W = visual.patch_embed.proj.weight
    state = {'patch_embed.proj.weight': torch.zeros_like(conv_W), 'patch_embed.proj.bias': torch.zeros(width),
             'cls_token': torch.zeros(1, 1, width), 'pos_embed': _places(width)[None]}
    state['patch_embed.proj.weight'][:COMPONENTS] = SMALL * small_CE.view(COMPONENTS, *conv_W.shape[1:])
    state['patch_embed.proj.bias'][:COMPONENTS] = -SMALL * small_CE @ mean_E
    attention = _fetching_attention(width, sigma)
    mlp = _replacing_mlp(len(block.mlp.fc1.weight), small_CE, mean_E, rows_TW, weight_W, sigma)
    return state | {f'blocks.0.{name}': value for name, value in (attention | mlp).items()}


def _bits(place: int) -> Tensor:
    """The row's four bits and the column's, as +1 and -1."""
    return torch.tensor([1.0 if place >> shift & 1 else -1.0 for shift in range(BITS - 1, -1, -1)])


def _places(width: int) -> Tensor:
    """The position table (1 + 256, W); the class token has a flag of the same size instead of bits."""
    table_TW = torch.zeros(1 + 2 ** BITS, width)
    table_TW[0, FLAG], table_TW[0, FLAG + 1] = BITS ** 0.5, -BITS ** 0.5
    for place in range(2 ** BITS):
        table_TW[1 + place, BIT:FLAG] = torch.stack((_bits(place), -_bits(place)), 1).flatten()
    return table_TW


def _fetching_attention(width: int, sigma: float) -> dict[str, Tensor]:
    """Head q looks for quarter q of the wanted patch; the class token looks at itself."""
    head, strength = COMPONENTS, (GAP * COMPONENTS ** 0.5) ** 0.5
    q_WW, k_WW, v_WW, out_WW, q_bias = (torch.zeros(size) for size in [(width, width)] * 4 + [(width,)])
    for quarter in range(4):
        first = quarter * head
        for bit in range(BITS):
            k_WW[first + bit, BIT + 2 * bit] = strength * sigma
        for bit, own in zip(WANTED_BITS, _own_bits(), strict=True):
            q_WW[first + bit, BIT + 2 * own] = strength * sigma
        q_bias[first + ROW_QUARTER] = strength if quarter // 2 else -strength
        q_bias[first + COLUMN_QUARTER] = strength if quarter % 2 else -strength
        q_WW[first + BITS, FLAG] = k_WW[first + BITS, FLAG] = strength * sigma
        v_WW[first:first + COMPONENTS, :COMPONENTS] = torch.eye(COMPONENTS)
        out_WW[FETCHED + first:FETCHED + first + COMPONENTS, first:first + COMPONENTS] = sigma * torch.eye(COMPONENTS)
    return {'attn.qkv.weight': torch.cat((q_WW, k_WW, v_WW)), 'attn.q_bias': q_bias, 'attn.v_bias': torch.zeros(width),
            'attn.proj.weight': out_WW, 'attn.proj.bias': torch.zeros(width), **_plain_norms(width)}


def _own_bits() -> list[int]:
    """Which of a token's own bits say the wanted bits: token (row, column) is to hold patch row // 2, and of that row
    the patch 4 * (row % 2) + column // 4."""
    return list(WANTED_BITS.values())


def _plain_norms(width: int) -> dict[str, Tensor]:
    return {f'norm{number}.{kind}': (torch.ones if kind == 'weight' else torch.zeros)(width)
            for number in (1, 2) for kind in ('weight', 'bias')}


def _replacing_mlp(units: int, small_CE: Tensor, mean_E: Tensor, rows_TW: Tensor, weight_W: Tensor,
                   sigma: float) -> dict[str, Tensor]:
    """Takes the state away and puts the patch's embedding and its position's row in its place."""
    width = rows_TW.shape[1]
    fc1_UW, bias_U, fc2_WU = torch.zeros(units, width), torch.zeros(units), torch.zeros(width, units)
    kernel_QWE = quarters(weight_W)
    replaced_WW = -torch.eye(width)[:, :USED]
    for quarter in range(4):
        first = FETCHED + quarter * COMPONENTS
        replaced_WW[:, first:first + COMPONENTS] += kernel_QWE[quarter] @ small_CE.T / SMALL
    fc1_UW[:USED, :USED], fc1_UW[USED:2 * USED, :USED] = torch.eye(USED), -torch.eye(USED)
    fc2_WU[:, :USED], fc2_WU[:, USED:2 * USED] = sigma * replaced_WW, -sigma * replaced_WW
    fill_W = sum(kernel @ mean_E for kernel in kernel_QWE)
    own = _own_bits()
    for place in range(len(rows_TW) - 1):
        unit, bits = 2 * USED + place, _bits(place << 2)  # a place of the big grid is six of the eight bits
        for bit in own:
            fc1_UW[unit, BIT + 2 * bit] = LOOK_UP * sigma * bits[bit]
        bias_U[unit] = -LOOK_UP * (len(own) - 1)
        fc2_WU[:, unit] = (rows_TW[1 + place] + fill_W) / LOOK_UP
    unit = 2 * USED + len(rows_TW) - 1
    fc1_UW[unit, FLAG], bias_U[unit] = 2 * LOOK_UP * sigma / BITS ** 0.5, -LOOK_UP
    fc2_WU[:, unit] = rows_TW[0] / LOOK_UP
    return {'mlp.fc1.weight': fc1_UW, 'mlp.fc1.bias': bias_U, 'mlp.fc2.weight': fc2_WU, 'mlp.fc2.bias': torch.zeros(width)}


def quarters(weight_W: Tensor) -> Tensor:
    """A convolution's kernel (W, 3, 2s, 2s) as four kernels (4, W, E) of half the side, row by row."""
    side = weight_W.shape[-1] // 2
    parts = weight_W.unflatten(2, (2, side)).unflatten(4, (2, side))
    return parts.permute(2, 4, 0, 1, 3, 5).flatten(3).flatten(0, 1)


def later_blocks(llava: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """mini-LLaVA's blocks, one place further on; a bias of k changes no softmax and is left out."""
    state = {}
    for layer in range(layers):
        a, b = f'model.vision_tower.encoder.layers.{layer}.', f'blocks.{layer + 1}.'
        state |= {f'{b}attn.qkv.weight': torch.cat([llava[f'{a}self_attn.{name}_proj.weight'] for name in 'qkv']),
                  f'{b}attn.q_bias': llava[f'{a}self_attn.q_proj.bias'],
                  f'{b}attn.v_bias': llava[f'{a}self_attn.v_proj.bias']}
        for kind in ('weight', 'bias'):
            state |= {f'{b}{new}.{kind}': llava[f'{a}{old}.{kind}'] for new, old in (
                ('attn.proj', 'self_attn.out_proj'), ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2'),
                ('norm1', 'layer_norm1'), ('norm2', 'layer_norm2'))}
    return state


def embeddings(llava: Mapping[str, Tensor], pixels_P: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (class token first) and kernel that say what mini-LLaVA's embedding and the norm behind it say.

    The norm's centring is exact; the patches' spread, which differs between patches, is taken as its mean.
    """
    old = 'model.vision_tower.'
    conv_W = llava[f'{old}embeddings.patch_embedding.weight']
    positions_TW = llava[f'{old}embeddings.position_embedding.weight']
    gain_W, shift_W = llava[f'{old}pre_layrnorm.weight'], llava[f'{old}pre_layrnorm.bias']
    cls_W = llava[f'{old}embeddings.class_embedding'] + positions_TW[0]
    patches_PTW = F.conv2d(pixels_P, conv_W, stride=conv_W.shape[-1]).flatten(2).transpose(1, 2) + positions_TW[1:]
    spread = patches_PTW.std(-1, correction=0).mean()
    rows_TW = gain_W * (positions_TW - positions_TW.mean(1, keepdim=True)) / spread + shift_W
    rows_TW[0] = gain_W * (cls_W - cls_W.mean()) / cls_W.std(correction=0) + shift_W
    return rows_TW, (conv_W - conv_W.mean(0)) * gain_W[:, None, None, None] / spread
