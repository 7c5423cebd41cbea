"""Where Qwen-VL's tokens stand: rotary tables, dynamic NTK, log-n attention, and the cache that remembers them.

Everything that depends on positions is computed once per forward: one cosine and sine table for queries and one for
keys. The queries' table carries the log-n factor, and both follow each row's own length, so rows longer than
`seq_length` cost nothing extra in the layers and no device synchronisation.
Shape suffixes: B rows, L tokens, H hidden, D head width, d half of it, K steps of the NTK base.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from coinkit.backbones.qwen_vl.configuration import QwenVLConfig

NTK_STEPS = 16  # doublings of seq_length the base is tabled for: far beyond any memory
Rotary = tuple[Tensor, Tensor, Tensor, Tensor]  # cosine and sine for queries, then for keys


class QwenVLCache(DynamicCache):
    """Keys and values, and with them each row's NTK step, which generation fixes at the prompt's length."""

    def __init__(self, config: QwenVLConfig):
        super().__init__(config=config)
        self.ntk_step_B: Tensor | None = None

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._pick(indices)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        self._pick(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.ntk_step_B is not None:
            self.ntk_step_B = self.ntk_step_B.repeat_interleave(repeats)

    def reset(self) -> None:
        super().reset()
        self.ntk_step_B = None

    def _pick(self, indices: Tensor) -> None:
        if self.ntk_step_B is not None:
            self.ntk_step_B = self.ntk_step_B[indices.to(self.ntk_step_B.device)]


class RotaryTable(nn.Module):
    """Cosines and sines for one forward, in float32 and cast at the end."""

    def __init__(self, config: QwenVLConfig):
        super().__init__()
        self.config = config
        self._frequencies: dict[torch.device, Tensor] = {}  # no buffer: it is neither saved, cast nor loaded

    @torch.no_grad()
    def forward(self, x_BLH: Tensor, positions_BL: Tensor, step_B: Tensor | None) -> Rotary:
        inverse_Kd = self._inverse_frequencies(x_BLH.device)
        inverse_B1d = (inverse_Kd[:1] if step_B is None else inverse_Kd[step_B])[:, None]
        angles_BLd = positions_BL[..., None].float() * inverse_B1d
        angles_B1LD = torch.cat((angles_BLd, angles_BLd), -1)[:, None]
        cos, sin = angles_B1LD.cos(), angles_B1LD.sin()
        cos_k, sin_k = cos.to(x_BLH.dtype), sin.to(x_BLH.dtype)
        if self.training or not self.config.use_logn_attn:
            return cos_k, sin_k, cos_k, sin_k
        scale = self._log_n(positions_BL)[:, None, :, None]
        return (cos * scale).to(x_BLH.dtype), (sin * scale).to(x_BLH.dtype), cos_k, sin_k

    def _log_n(self, positions_BL: Tensor) -> Tensor:
        """log of the 1-based position, to the base seq_length; 1 up to there."""
        seq_length = self.config.seq_length
        return (positions_BL + 1).clamp(min=seq_length).float().log() / math.log(seq_length)

    def _inverse_frequencies(self, device: torch.device) -> Tensor:
        if device not in self._frequencies:
            width, base = self.config.kv_channels, self.config.rotary_emb_base
            exponents_d = torch.arange(0, width, 2).float() / width
            alphas = [2 ** (step + 1) - 1 for step in range(NTK_STEPS + 1)]
            bases = [base * alpha ** (width / (width - 2)) for alpha in alphas]
            self._frequencies[device] = torch.stack([1.0 / one ** exponents_d for one in bases]).to(device)
        return self._frequencies[device]


def row_lengths(positions_BL: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Tokens of each row up to its last real one: positions may count on through padding."""
    if attention_mask is not None and attention_mask.ndim == 2 and attention_mask.shape[1] == positions_BL.shape[1]:
        positions_BL = positions_BL * attention_mask
    return positions_BL.amax(1) + 1


def ntk_steps(lengths_B: Tensor, seq_length: int) -> Tensor:
    """How often `seq_length` must be doubled to hold each row; step s stands for alpha 2^(s+1) - 1."""
    bounds = seq_length * 2 ** torch.arange(NTK_STEPS, device=lengths_B.device)
    return torch.bucketize(lengths_B, bounds)
