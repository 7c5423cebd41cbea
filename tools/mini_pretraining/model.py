"""A mini backbone as pre-training sees it: where its weights start, its loss, its answers, and the folder it leaves.

The backbone plug-in itself encodes the samples, so what is trained here is what it feeds later: its template, its form
of boxes, its pixels. Weights are fp32, computed under bf16 autocast. Shape suffix: N labelled positions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from coinkit.backbones.decoder import DecoderBackbone
from coinkit.data.batch import IGNORE, Encoded
from coinkit.engine.generation import generate, plan_batches, requests_for
from coinkit.errors import ConfigError
from coinkit.registry import BACKBONES
from coinkit.types import Sample
from tools.mini_pretraining.warm_start import warm_start

SHIPPED = files('coinkit.backbones') / 'mini'
MAX_NEW_TOKENS = 120
WEIGHTS, RECORD = 'model.safetensors', 'pretraining.json'
CHUNK = {'cpu': 8, 'cuda': 512}  # rows per forward; few on a CPU: they fit its cache and are hardly padded
LLAVA = 'llava'
COMMON = ('config.json', 'generation_config.json', 'tokenizer_config.json', 'preprocessor_config.json', 'coinkit.json')


@dataclass(frozen=True)
class Architecture:
    """The backbone's name, the file of its vocabulary, and a tied head that is stored once."""

    backbone: str
    vocabulary: str
    tied_head: str | None

    @property
    def beside(self) -> tuple[str, ...]:
        """What a folder holds beside the weights."""
        return (*COMMON, self.vocabulary)


ARCHITECTURES = {
    'llava': Architecture('Llava', 'tokenizer.json', 'lm_head.weight'),
    'qwen_vl': Architecture('QwenVL', 'qwen.tiktoken', None),
    'minigpt_v2': Architecture('MiniGPTv2', 'tokenizer.json', 'llama_model.lm_head.weight')}


class MiniModel:
    """One mini backbone that trains, as a whole or without its tower."""

    def __init__(self, backbone: DecoderBackbone, arch: str, folder: Path, *, origin: str, freeze_vision: bool):
        self.backbone, self.model, self.folder, self.origin = backbone, backbone.model, folder, origin
        self.architecture = ARCHITECTURES[arch]
        self.device = backbone.device
        backbone.dtype = torch.bfloat16  # autocast over the fp32 weights
        self.model.requires_grad_(True)
        if freeze_vision:
            self.model.get_submodule(backbone.vision_tower).requires_grad_(False)
            self.model.get_submodule(backbone.projector).requires_grad_(True)

    @classmethod
    def start(cls, arch: str, init: str | None, *, seed: int, freeze_vision: bool, device: str,
              resuming: bool = False) -> MiniModel:
        """From scratch (the shipped configuration, random weights), from mini-LLaVA, or from a folder of weights.

        `resuming`: a checkpoint follows, so mini-LLaVA's tower is mapped but not taught.
        """
        shipped = Path(str(SHIPPED / arch))
        if init is None or (init == LLAVA and arch != LLAVA):
            backbone, origin = _build(arch, shipped, device, init_seed=seed), 'scratch'
            if init == LLAVA:
                origin = warm_start(backbone, arch, Path(str(SHIPPED / LLAVA)), teach=not resuming)
            return cls(backbone, arch, shipped, origin=origin, freeze_vision=freeze_vision)
        folder = shipped if init in ('shipped', LLAVA) else Path(init)
        missing = [name for name in (WEIGHTS, *ARCHITECTURES[arch].beside) if not (folder / name).is_file()]
        if missing:
            raise ConfigError(f"--init {folder}: no {', '.join(missing)} there; give a folder written by this tool "
                              "or 'shipped'.")
        origin = f'sha256:{hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]}'
        return cls(_build(arch, folder, device), arch, folder, origin=origin, freeze_vision=freeze_vision)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def backward(self, samples: Sequence[Sample]) -> Tensor:
        """Gradients of the mean cross-entropy over the supervised tokens, by chunks of rows of similar length."""
        encoded = sorted((self._encode(sample, asked=number % 2 == 1) for number, sample in enumerate(samples)),
                         key=lambda one: len(one.input_ids_L))
        num_tokens = sum(int((one.labels_L[1:] >= 0).sum()) for one in encoded)
        total, chunk = torch.zeros((), device=self.device), CHUNK[self.device.type]
        for first in range(0, len(encoded), chunk):
            batch = self.backbone.collate(encoded[first:first + chunk], padding_side='right')
            loss = self.backbone.forward(batch).token_loss_N.sum() / num_tokens
            loss.backward()
            total += loss.detach()
        return total

    def _encode(self, sample: Sample, *, asked: bool) -> Encoded:
        """A training row; `asked`: with the prompt that evaluation uses, which MiniGPT-v2 writes differently."""
        row = self.backbone.encode(sample, training=True)
        if not asked:
            return row
        prompt = self.backbone.encode(replace(sample, turns=sample.turns[:-1]), training=False)
        answer_L = row.labels_L[int((row.labels_L == IGNORE).nonzero()[-1]) + 1:]  # supervised to its end
        return replace(row, input_ids_L=torch.cat((prompt.input_ids_L, answer_L)),
                       labels_L=torch.cat((prompt.labels_L, answer_L)))

    def answer(self, samples: Sequence[Sample]) -> list[str]:
        """Greedy answers to samples without one."""
        requests = requests_for(self.backbone, samples, max_new_tokens=MAX_NEW_TOKENS)
        said: dict[int, str] = {}
        generate(self.backbone, requests, plan=plan_batches([one.length for one in requests], token_budget=8192),
                 on_batch=said.update, workers=1)
        self.model.train()
        return [said[index] for index in range(len(samples))]

    def save(self, out: Path, record: dict[str, Any]) -> None:
        """The folder the backbone loads: bf16 weights (a tied head once), configuration, tokenizer, the record."""
        out.mkdir(parents=True, exist_ok=True)
        for name in self.architecture.beside:
            if self.folder.resolve() != out.resolve():
                shutil.copyfile(self.folder / name, out / name)
        state = {name: value.detach().to('cpu', torch.bfloat16).contiguous()
                 for name, value in self.model.state_dict().items() if name != self.architecture.tied_head}
        save_file(state, out / f'{WEIGHTS}.tmp', metadata={'format': 'pt'})
        os.replace(out / f'{WEIGHTS}.tmp', out / WEIGHTS)
        (out / RECORD).write_text(json.dumps(record, indent=1) + '\n', 'utf-8')


def _build(arch: str, folder: Path, device: str, **options: Any) -> DecoderBackbone:
    # eager attention is a third faster on the short rows of a CPU
    backbone = BACKBONES.build(dict(type=ARCHITECTURES[arch].backbone, checkpoint=str(folder), dtype='float32',
                                    max_length=512, device=device, attn='eager' if device == 'cpu' else 'sdpa', **options))
    backbone.model.train().requires_grad_(True)
    return backbone
