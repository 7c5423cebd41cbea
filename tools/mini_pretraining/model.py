"""A mini architecture as pre-training sees it: prompt, loss at the answer's tokens, greedy answers, a folder to load.

The prompt, the normalisation and the image size come from the folder's `coinkit.json`, so that what is trained here is
what the backbone plug-in feeds later. Shape suffixes: B rows, L tokens, N labelled positions.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from coinkit.errors import ConfigError

SHIPPED = files('coinkit.backbones') / 'mini'
ARCHITECTURES = {'llava': 'LlavaForConditionalGeneration'}
MAX_NEW_TOKENS = 120
WEIGHTS = 'model.safetensors'
BESIDE = ('config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json',
          'preprocessor_config.json', 'coinkit.json')


@dataclass(frozen=True)
class Prompt:
    """How one sample becomes tokens."""

    tokenizer: Tokenizer
    template: dict[str, Any]

    def human(self, text: str) -> list[int]:
        prefix = self.template['bos'] + self.template['image'] * self.template['image_tokens']
        return self.tokenizer.encode(prefix + self.template['human'].format(text=text)).ids

    def answer(self, text: str) -> list[int]:
        return self.tokenizer.encode(self.template['gpt'].format(text=text)).ids


class MiniModel:
    """One mini model in fp32 with its prompt."""

    def __init__(self, model: nn.Module, folder: Path, *, origin: str, freeze_vision: bool, device: str):
        self.model, self.folder, self.origin = model.to(device), folder, origin
        self.device = torch.device(device)
        self.prompt = Prompt(Tokenizer.from_file(str(folder / 'tokenizer.json')),
                             json.loads((folder / 'coinkit.json').read_text('utf-8')))
        self.model.set_attn_implementation('eager' if device == 'cpu' else 'sdpa')  # a third faster on short rows there
        self.model.requires_grad_(True)
        if freeze_vision:
            self.model.model.vision_tower.requires_grad_(False)

    @classmethod
    def start(cls, arch: str, init: str | None, *, seed: int, freeze_vision: bool, device: str) -> MiniModel:
        """From scratch (the shipped configuration, random weights), or from a folder of weights."""
        import transformers

        kind = getattr(transformers, ARCHITECTURES[arch])
        shipped = Path(str(SHIPPED / arch))
        if init is None:
            torch.manual_seed(seed)
            model = kind(transformers.AutoConfig.from_pretrained(shipped))
            return cls(model.float(), shipped, origin='scratch', freeze_vision=freeze_vision, device=device)
        folder = shipped if init == 'shipped' else Path(init)
        missing = [name for name in (WEIGHTS, *BESIDE) if not (folder / name).is_file()]
        if missing:
            raise ConfigError(f"--init {folder}: no {', '.join(missing)} there; give a folder written by this tool "
                              "or 'shipped'.")
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        model = kind.from_pretrained(folder, dtype=torch.float32)
        return cls(model, folder, origin=f'sha256:{digest[:16]}', freeze_vision=freeze_vision, device=device)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def backward(self, pixels: np.ndarray, human: list[str], answers: list[str], *, chunk: int) -> Tensor:
        """Gradients of the mean cross-entropy over the answers' tokens, by chunks of rows of similar length."""
        prompts, replies = [self.prompt.human(t) for t in human], [self.prompt.answer(t) for t in answers]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(replies[i]))
        num_tokens, total = sum(map(len, replies)), torch.zeros((), device=self.device)
        for first in range(0, len(order), chunk):
            rows = order[first:first + chunk]
            loss = self._loss_sum(pixels[rows], [prompts[i] for i in rows], [replies[i] for i in rows]) / num_tokens
            loss.backward()
            total += loss.detach()
        return total

    def _loss_sum(self, pixels: np.ndarray, prompts: list[list[int]], replies: list[list[int]]) -> Tensor:
        """Summed cross-entropy of the replies; the head sees the labelled positions only."""
        ids_BL, mask_BL = self._pad([p + r for p, r in zip(prompts, replies, strict=True)], left=False)
        starts_B = torch.tensor([len(p) for p in prompts], device=self.device)
        is_answer_BL = mask_BL.bool() & (torch.arange(ids_BL.shape[1], device=self.device) >= starts_B[:, None])
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            hidden_BLD = self.model.model(input_ids=ids_BL, attention_mask=mask_BL, pixel_values=self._pixels(pixels),
                                          use_cache=False).last_hidden_state
            logits_NV = self.model.lm_head(hidden_BLD[:, :-1][is_answer_BL[:, 1:]])
        return F.cross_entropy(logits_NV.float(), ids_BL[:, 1:][is_answer_BL[:, 1:]], reduction='sum')

    @torch.no_grad()
    def answer(self, pixels: np.ndarray, human: list[str]) -> list[str]:
        """Greedy answers, without their special tokens and outer white space."""
        self.model.eval()
        ids_BL, mask_BL = self._pad([self.prompt.human(text) for text in human], left=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            out_BL = self.model.generate(input_ids=ids_BL, attention_mask=mask_BL, pixel_values=self._pixels(pixels),
                                         max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        self.model.train()
        return [self.prompt.tokenizer.decode(row[ids_BL.shape[1]:].tolist()).strip() for row in out_BL]

    def _pad(self, rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        length = max(map(len, rows))
        ids, mask = np.zeros((2, len(rows), length), np.int64)  # id 0 is the pad token
        for i, row in enumerate(rows):
            place = slice(length - len(row), None) if left else slice(None, len(row))
            ids[i, place], mask[i, place] = row, 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def _pixels(self, pixels: np.ndarray) -> Tensor:
        mean, std = (torch.tensor(self.prompt.template[key], device=self.device).view(1, 3, 1, 1)
                     for key in ('image_mean', 'image_std'))
        return (torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float() / 255 - mean) / std

    def save(self, out: Path, record: dict[str, Any]) -> None:
        """The folder `from_pretrained` loads: bf16 weights (a tied head once), configuration, tokenizer, the record."""
        out.mkdir(parents=True, exist_ok=True)
        for name in BESIDE:
            if self.folder.resolve() != out.resolve():
                shutil.copyfile(self.folder / name, out / name)
        state = {name: value.detach().to('cpu', torch.bfloat16).contiguous()
                 for name, value in self.model.state_dict().items() if name != 'lm_head.weight'}
        save_file(state, out / f'{WEIGHTS}.tmp', metadata={'format': 'pt'})
        os.replace(out / f'{WEIGHTS}.tmp', out / WEIGHTS)
        (out / 'pretraining.json').write_text(json.dumps(record, indent=1) + '\n', 'utf-8')
