"""A start from mini-LLaVA: its weights mapped, then the tower taught to say what mini-LLaVA's says, on drawn pictures.

The teacher's patch states are the target of the tower. Qwen-VL's resampler has the teacher's projected features as its
target. MiniGPT-v2's `llama_proj`, one linear map for four patches, is fitted by least squares to their mean.
Shape suffixes: P pictures, S patches, W tower width, H width of the language model, N rows of a fit.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from coinkit.backbones.decoder import DecoderBackbone
from tools.mini_pretraining import mapping
from tools.mini_pretraining.samples import draw

STEPS = {'qwen_vl': 300, 'minigpt_v2': 150}
BATCH, LR, FIT_PICTURES = 32, 6e-4, 512
MIX = {'caption': 5.0, 'textvqa': 3.0, 'grounding': 1.0, 'ocrvqa': 1.0, 'vizwiz': 0.5}
logger = logging.getLogger(__name__)
STATES = 0.1  # weight of the tower's states: a guide; the language model reads the features
CONSTANT = 8.0  # the constant beside the size of a feature
Pictures = Callable[[int, int], Tensor]  # batch number and size to pixels


def warm_start(backbone: DecoderBackbone, arch: str, llava: Path, *, teach: bool) -> str:
    """Fill `backbone` from the mini-LLaVA folder; returns what the record says about it."""
    from transformers import LlavaForConditionalGeneration

    teacher = LlavaForConditionalGeneration.from_pretrained(llava, dtype=torch.float32).to(backbone.device)
    pictures = _pictures(backbone)
    MAPS[arch](backbone.model, teacher.state_dict(), pictures(-1, FIT_PICTURES))
    if teach:
        _teach(STUDENTS[arch](backbone.model), Teacher(teacher), pictures, STEPS[arch])
    digest = hashlib.sha256((llava / 'model.safetensors').read_bytes()).hexdigest()[:16]
    return f'mini-LLaVA sha256:{digest}, tower taught {STEPS[arch]} x {BATCH}'


def _pictures(backbone: DecoderBackbone) -> Pictures:
    def drawn(number: int, size: int) -> Tensor:
        samples = draw([f'warm-start/{number}/{row}' for row in range(size)], MIX)
        return torch.stack([backbone.samples.read_pixels(one.images[0].load()) for one in samples]).to(backbone.device)
    return drawn


class Teacher:
    """mini-LLaVA's tower and projector."""

    def __init__(self, llava: nn.Module):
        self.inner = llava.model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, pixels_P: Tensor) -> tuple[Tensor, Tensor]:
        states_PSW = self.inner.vision_tower(pixels_P).last_hidden_state[:, 1:]
        return states_PSW, self.inner.multi_modal_projector(states_PSW)


class QwenStudent:
    """ViT and resampler."""

    def __init__(self, model: nn.Module):
        self.visual = model.transformer.visual
        self.parameters = [p for p in self.visual.parameters() if p.requires_grad]

    @torch.no_grad()
    def before(self, pixels_P: Tensor, teacher: Teacher) -> None:
        """The values' map by least squares, and a way through the norm behind it that keeps sizes.

        The features go into directions that the norm's centring and one large constant leave alone: with the constant
        the norm only scales. The three directions in which features vary least are given up for that.
        """
        pool, (_, wanted_PSH) = self.visual.attn_pool, teacher(pixels_P)
        kv_PSH = pool.ln_kv(pool.kv_proj(self.visual.patches(pixels_P)))
        weight_HH, bias_H = least_squares(kv_PSH.flatten(0, 1), wanted_PSH.flatten(0, 1))
        wanted_NH, width = wanted_PSH.flatten(0, 1), len(bias_H)
        mean_H = wanted_NH.mean(0)
        kept_HC = torch.linalg.svd((wanted_NH - mean_H).T @ (wanted_NH - mean_H))[0][:, :-3]
        free_HC, size = centred_directions(width), CONSTANT * (wanted_NH - mean_H).norm(dim=1).mean()
        pool.attn.in_proj_weight[2 * width:] = free_HC @ kept_HC.T @ weight_HH
        pool.attn.in_proj_bias[2 * width:] = free_HC @ kept_HC.T @ (bias_H - mean_H)
        pool.attn.out_proj.bias.zero_()
        pool.attn.out_proj.bias[0], pool.attn.out_proj.bias[1] = size / 2 ** 0.5, -size / 2 ** 0.5
        self.visual.proj.copy_(size / width ** 0.5 * free_HC @ kept_HC.T)
        self.visual.proj[0] += mean_H / (2 * width) ** 0.5
        self.visual.proj[1] -= mean_H / (2 * width) ** 0.5

    def loss(self, pixels_P: Tensor, teacher: Teacher) -> Tensor:
        states_PSW, features_PSH = teacher(pixels_P)
        mine_PSW = self.visual.patches(pixels_P)
        visual = self.visual
        mine_PSH = visual.ln_post(visual.attn_pool(mine_PSW)) @ visual.proj
        return STATES * apart(mine_PSW, states_PSW) + apart(mine_PSH, features_PSH)


class MiniGPTStudent:
    """llama_proj and the last block, which learns what the teacher's second layer of projection adds; the rest is exact."""

    def __init__(self, model: nn.Module):
        self.model = model
        model.visual_encoder.requires_grad_(False)
        parts = (model.visual_encoder.blocks[-1].requires_grad_(True), model.ln_vision, model.llama_proj)
        self.parameters = [one for part in parts for one in part.parameters()]

    @torch.no_grad()
    def before(self, pixels_P: Tensor, teacher: Teacher) -> None:
        """The projection by least squares from the teacher's own states."""
        states_PSW, features_PSH = teacher(pixels_P)
        merged = self.model.config.merged_tokens
        weight_HW, bias_H = least_squares(self.model.ln_vision(states_PSW).flatten(0, 1), features_PSH.flatten(0, 1))
        self.model.llama_proj.weight.copy_(weight_HW.repeat(1, merged) / merged)
        self.model.llama_proj.bias.copy_(bias_H)

    def loss(self, pixels_P: Tensor, teacher: Teacher) -> Tensor:
        return apart(self.model.image_embeds(pixels_P), teacher(pixels_P)[1])


MAPS = {'qwen_vl': mapping.qwen_from_llava, 'minigpt_v2': mapping.minigpt_from_llava}
STUDENTS = {'qwen_vl': QwenStudent, 'minigpt_v2': MiniGPTStudent}


def centred_directions(width: int) -> Tensor:
    """Orthonormal directions (width, width - 3) that have no mean and leave the first two dimensions alone."""
    ones_H = torch.cat((torch.zeros(2), torch.ones(width - 2)))
    start = torch.cat((torch.eye(width)[:, :2], ones_H[:, None], torch.eye(width)[:, 3:]), 1)
    return torch.linalg.qr(start)[0][:, 3:]


def apart(mine: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference in units of the target's variance, channel by channel."""
    return ((mine.float() - wanted).pow(2).mean((0, 1)) / wanted.var((0, 1))).mean()


def least_squares(x_NW: Tensor, y_NH: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the linear map that fits best, with a little shrinkage: some inputs repeat others."""
    x_mean, y_mean = x_NW.mean(0), y_NH.mean(0)
    x_NW, y_NH = (x_NW - x_mean).double(), (y_NH - y_mean).double()
    square = x_NW.T @ x_NW
    square += 1e-5 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    weight = torch.linalg.solve(square, x_NW.T @ y_NH).T.float()
    return weight, y_mean - weight @ x_mean


def _teach(student: QwenStudent | MiniGPTStudent, teacher: Teacher, pictures: Pictures, steps: int) -> None:
    """Least squares where a map is linear, AdamW with a cosine for the rest."""
    student.before(pictures(-1, FIT_PICTURES), teacher)
    optimizer = torch.optim.AdamW(student.parameters, lr=LR, weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group['lr'] = LR * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
        pixels_P = pictures(step, BATCH)
        with torch.autocast(pixels_P.device.type, dtype=torch.bfloat16):
            loss = student.loss(pixels_P, teacher)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step + 1 == steps:
            logger.info('warm start: step %d of %d, %.4f of the variance missed', step + 1, steps, loss.item())
