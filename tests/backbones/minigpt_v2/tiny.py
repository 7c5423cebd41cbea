"""Samples with golden pictures, and the tiny MiniGPT-v2 as the three published files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from coinkit.types import Sample, Turn

GOLDEN = Path(__file__).parents[2] / 'golden'
LLAMA = 'llama_model.base_model.model.'
TOWER = 'visual_encoder.'


@dataclass(frozen=True)
class Picture:
    """A golden picture."""

    key: str

    def load(self) -> Image.Image:
        return Image.open(GOLDEN / 'minigpt_v2' / self.key).convert('RGB')

    @property
    def size(self) -> tuple[int, int]:
        return self.load().size


def sample(*texts: str, pictures: int = 1, name: str = 'a') -> Sample:
    """Alternating human and gpt turns with `pictures` golden pictures."""
    turns = tuple(Turn(('human', 'gpt')[number % 2], text) for number, text in enumerate(texts))
    return Sample(id=name, task='t', images=tuple(Picture(f'img{number}.png') for number in range(pictures)), turns=turns)


def write_parts(folder: Path, weights: dict[str, torch.Tensor], llm: dict, *, adapter_name: str = '') -> dict[str, str]:
    """The same model as the published files; returns the arguments that name them."""
    llama = folder / 'Llama-2-chat'
    llama.mkdir(parents=True)
    language = {name.removeprefix(LLAMA): one for name, one in weights.items()
                if name.startswith(LLAMA) and 'lora' not in name}
    save_file(language, llama / 'model.safetensors', metadata={'format': 'pt'})
    (llama / 'config.json').write_text(json.dumps({'model_type': 'llama', **llm}))
    shutil.copy(GOLDEN / 'tokenizer_llama_tiny' / 'tokenizer.model', llama)
    tower = {name.removeprefix(TOWER): one for name, one in weights.items() if name.startswith(TOWER)}
    width = tower['cls_token'].shape[-1]
    tower |= {'blocks.39.norm1.weight': torch.ones(width), 'norm.weight': torch.ones(width), 'head.bias': torch.ones(5)}
    torch.save(tower, folder / 'eva_vit_g.pth')
    trained = {name.replace('.default', adapter_name): one for name, one in weights.items()
               if 'lora' in name or name.startswith(('llama_proj', 'ln_vision'))}
    trained[f'{LLAMA}model.layers.0.self_attn.rotary_emb.inv_freq'] = torch.ones(8)
    torch.save({'model': trained, 'optimizer': {'state': {}}, 'epoch': 3}, folder / 'minigptv2_checkpoint.pth')
    return {'checkpoint': str(folder / 'minigptv2_checkpoint.pth'), 'llama': str(llama),
            'vit': str(folder / 'eva_vit_g.pth')}


def with_tiny_sizes(folder: Path, golden_config: dict) -> None:
    """Without a config beside them the parts are of the published sizes."""
    kept = {key: golden_config[key] for key in ('vit', 'img_size', 'max_txt_len', 'lora')}
    (folder / 'config.json').write_text(json.dumps({'model_type': 'minigpt_v2', **kept}))
