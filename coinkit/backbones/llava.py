"""LLaVA-1.5 on transformers' LlavaForConditionalGeneration, with the published prompts, labels and pixels.

Ids hold -200 at every picture position and are merged with the picture features here, so the vocabulary keeps its size
and no text can be mistaken for a picture. The forward applies the head only where a label is; the vision tower runs
without gradient unless it trains. The model arrives frozen: the method chooses what trains.
Shape suffixes: B rows, L tokens, N labelled positions, V vocabulary, P pictures, S tokens of one picture, H hidden.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from coinkit.backbones import llava_checkpoint
from coinkit.backbones.base import Backbone
from coinkit.backbones.conversation import IMAGE_ID, TEMPLATES, make_template
from coinkit.backbones.llava_images import ASPECT_RATIOS, pixel_reader
from coinkit.backbones.llava_samples import SampleEncoder, collate
from coinkit.backbones.text_codec import read_codec
from coinkit.data.batch import IGNORE, Batch, Encoded, ForwardOutput
from coinkit.errors import ConfigError, Problem, unknown
from coinkit.types import Query, Sample

logger = logging.getLogger(__name__)
DTYPES = {'bfloat16': torch.bfloat16, 'float32': torch.float32}
ATTENTION = ('auto', 'sdpa', 'eager', 'flash_attention_2')


class Llava(Backbone):
    """LLaVA-1.5 from a hub-format folder, or 'mini': the weights that come with coinkit.

    `init_seed` builds random weights from config.json alone; `mask_correction=False` is CoIN's label mask, `legacy`
    the tokenizer behaviour when the folder does not say; `key_mapping` renames tensors, pattern to replacement.
    """

    projector: ClassVar[str] = 'model.multi_modal_projector'
    language_model: ClassVar[str] = 'model.language_model'
    vision_tower: ClassVar[str] = 'model.vision_tower'

    def __init__(self, checkpoint: str, *, dtype: str = 'bfloat16', template: str | None = None, max_length: int = 2048,
                 image_aspect_ratio: str = 'pad', attn: str = 'auto', device: str = 'auto', legacy: bool | None = None,
                 mask_correction: bool = True, init_seed: int | None = None,
                 key_mapping: Mapping[str, str] | None = None):
        if problems := self.preflight(checkpoint, dtype=dtype, template=template, image_aspect_ratio=image_aspect_ratio,
                                      attn=attn, init_seed=init_seed):
            raise ConfigError(problems)
        self.checkpoint, self.folder = checkpoint, llava_checkpoint.resolve(checkpoint)
        self.dtype = DTYPES[dtype]
        self.model = self._build(attn, device, init_seed, key_mapping)
        self.context_length = self.model.config.text_config.max_position_embeddings
        self.max_length = min(max_length, self.context_length)
        self.samples = self._read_folder(template, legacy, mask_correction, image_aspect_ratio)
        self.eos_ids = frozenset({self.codec.eos_id, *_ids(self.model.generation_config.eos_token_id)})
        self.lora_targets = r'model\.language_model\.layers\.\d+\..*\.(q|k|v|o|gate|up|down)_proj'

    def _build(self, attn: str, device: str, init_seed: int | None, key_mapping: Mapping[str, str] | None):
        place = torch.device(('cuda' if torch.cuda.is_available() else 'cpu') if device == 'auto' else device)
        chosen = dict(dtype=self.dtype, attn=choose_attention(attn, place, self.dtype), device=place)
        if place.type == 'meta':
            return llava_checkpoint.shapes_only(self.folder, dtype=self.dtype).eval().requires_grad_(False)
        if init_seed is None:
            model = llava_checkpoint.load_model(self.folder, key_mapping=key_mapping, **chosen)
        else:
            model = llava_checkpoint.random_model(llava_checkpoint.read_config(self.folder), seed=init_seed, **chosen)
        return model.eval().requires_grad_(False)

    def _read_folder(self, name: str | None, legacy: bool | None, mask_correction: bool,
                     aspect_ratio: str) -> SampleEncoder:
        card = llava_checkpoint.read_json(self.folder / 'coinkit.json')
        self.template_name = name or card.get('template', 'vicuna_v1')
        self.codec = read_codec(self.folder, legacy=legacy)
        vision = self.model.config.vision_config
        statistics = llava_checkpoint.read_json(self.folder / 'preprocessor_config.json') | card
        cls = 1 if self.model.config.vision_feature_select_strategy == 'full' else 0
        return SampleEncoder(
            template=make_template(self.template_name, card=card, mask_correction=mask_correction), codec=self.codec,
            read_pixels=pixel_reader(vision.image_size, card=statistics, aspect_ratio=aspect_ratio),
            tokens_per_image=(vision.image_size // vision.patch_size) ** 2 + cls,
            max_length=self.max_length, context_length=self.context_length)

    # --- samples ------------------------------------------------------------------------------------------------

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        return self.samples.encode(sample, training=training)

    def prompt_length(self, sample: Sample | Query) -> int:
        """Tokens of the generation prompt, pictures included; opens no picture."""
        return self.samples.prompt_length(sample)

    def collate(self, items: Sequence[Encoded], *, padding_side: str) -> Batch:
        return collate(items, padding_side=padding_side, pad_id=self.codec.eos_id)

    # --- model --------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> ForwardOutput:
        batch = batch.to(self.device)
        with self._autocast():
            hidden_BLH = self._hidden(batch, use_cache=False)
            labels_BL = batch.labels_BL[:, 1:]  # position t predicts token t + 1
            rows_N, positions_N = (labels_BL != IGNORE).nonzero(as_tuple=True)
            logits_NV = self.model.lm_head(hidden_BLH[rows_N, positions_N]).float()
        labels_N = labels_BL[rows_N, positions_N]
        return ForwardOutput(F.cross_entropy(logits_NV, labels_N, reduction='none'), logits_NV, labels_N, rows_N)

    @torch.no_grad()
    def prefill(self, batch: Batch) -> tuple[Tensor, Any]:
        from transformers import DynamicCache
        batch = batch.to(self.device)
        cache = DynamicCache(config=self.model.config.text_config)
        with self._autocast():
            hidden_BLH = self._hidden(batch, past_key_values=cache, use_cache=True)
            return self.model.lm_head(hidden_BLH[:, -1]), cache

    @torch.no_grad()
    def decode_step(self, ids_B: Tensor, attention_mask_BL: Tensor, cache: Any) -> Tensor:
        positions_B1 = attention_mask_BL.sum(1, keepdim=True) - 1
        with self._autocast():
            embeds_B1H = self.model.model.language_model.embed_tokens(ids_B[:, None])
            hidden_B1H = self.model.model.language_model(
                inputs_embeds=embeds_B1H, attention_mask=self._step_mask(attention_mask_BL), position_ids=positions_B1,
                past_key_values=cache, use_cache=True).last_hidden_state
            return self.model.lm_head(hidden_B1H[:, -1])

    def _hidden(self, batch: Batch, **cache: Any) -> Tensor:
        positions_BL = (batch.attention_mask_BL.cumsum(1) - 1).clamp(min=0)  # 0 at a row's first real token
        return self.model.model.language_model(inputs_embeds=self._embed(batch), attention_mask=batch.attention_mask_BL,
                                               position_ids=positions_BL, **cache).last_hidden_state

    def _step_mask(self, attention_mask_BL: Tensor) -> Tensor:
        # one query sees every real key, so the 4-D mask is the 2-D one: saves building it (SDPA takes it as it is)
        if self.model.model.language_model.config._attn_implementation != 'sdpa':
            return attention_mask_BL
        return attention_mask_BL[:, None, None, :].bool()

    def _embed(self, batch: Batch) -> Tensor:
        """Text embeddings with the picture features at the picture positions, in row and position order."""
        is_image_BL = batch.input_ids_BL == IMAGE_ID
        embeds_BLH = self.model.model.language_model.embed_tokens(batch.input_ids_BL.masked_fill(is_image_BL, 0))
        if batch.pixel_values_P is None:
            return embeds_BLH + self._no_features(embeds_BLH.dtype)
        features_PSH = self._features(batch.pixel_values_P).to(embeds_BLH.dtype)
        return embeds_BLH.masked_scatter(is_image_BL[..., None], features_PSH)

    def _features(self, pixels_P: Tensor) -> Tensor:
        inner, config = self.model.model, self.model.config
        trains = torch.is_grad_enabled() and any(one.requires_grad for one in inner.vision_tower.parameters())
        with contextlib.nullcontext() if trains else torch.no_grad():
            states = inner.vision_tower(pixels_P.to(self.dtype), output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        selected = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        if config.vision_feature_select_strategy == 'default':
            selected = [state[:, 1:] for state in selected]
        return inner.multi_modal_projector(torch.cat(selected, -1))

    def _no_features(self, dtype: torch.dtype) -> Tensor | float:
        """A zero that depends on the projector: text-only batches give it zero gradients, not none.

        Every process of a distributed run must run the same modules in step (ZeRO-3 gathers each one's parameters
        together), so there an empty picture goes through the tower as well.
        """
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            side = self.model.config.vision_config.image_size
            features = self._features(torch.zeros(1, 3, side, side, device=self.device))
        elif torch.is_grad_enabled():
            first = self.model.model.multi_modal_projector
            width = self.model.config.vision_config.hidden_size * len(_ids(self.model.config.vision_feature_layer))
            features = first(torch.zeros(1, width, device=self.device, dtype=self.dtype))
        else:
            return 0.0
        return (features.sum() * 0).to(dtype)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    # --- the rest -----------------------------------------------------------------------------------------------

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)

    def save(self, folder: str | Path) -> None:
        """Write a hub-format folder that `Llava` loads again: weights, tokenizer, template and pixel statistics."""
        folder = Path(folder)
        self.model.save_pretrained(str(folder), save_original_format=False)
        self.codec.save(folder)
        pixels = self.samples.read_pixels
        card = {**llava_checkpoint.read_json(self.folder / 'coinkit.json'), 'template': self.template_name,
                'image_mean': pixels.mean, 'image_std': pixels.std}
        (folder / 'coinkit.json').write_text(json.dumps(card, indent=1) + '\n', encoding='utf-8')

    @classmethod
    def preflight(cls, checkpoint: str = '', **config: Any) -> list[Problem]:
        allowed = {'dtype': DTYPES, 'template': TEMPLATES, 'image_aspect_ratio': ASPECT_RATIOS, 'attn': ATTENTION}
        problems = [unknown(f'backbone.{key}', key, config[key], names)
                    for key, names in allowed.items() if config.get(key) is not None and config[key] not in names]
        return problems + llava_checkpoint.folder_problems(checkpoint, weights=config.get('init_seed') is None)

    @classmethod
    def estimate_bytes(cls, checkpoint: str, *, training: bool, dtype: str = 'bfloat16',
                       **shape: Any) -> dict[str, int]:
        """Bytes by purpose and in total, from config.json alone; `shape` as in `llava_checkpoint.estimate_bytes`."""
        config = llava_checkpoint.read_config(llava_checkpoint.resolve(checkpoint))
        return llava_checkpoint.estimate_bytes(config, training=training, dtype_bytes=DTYPES[dtype].itemsize, **shape)

    def describe(self) -> dict[str, Any]:
        text = self.model.config.text_config
        return super().describe() | {
            'checkpoint': self.checkpoint, 'model_type': self.model.config.model_type, 'template': self.template_name,
            'dtype': str(self.dtype).removeprefix('torch.'), 'hidden_size': text.hidden_size,
            'layers': text.num_hidden_layers, 'vocabulary': text.vocab_size,
            'tokens_per_image': self.samples.tokens_per_image}


def choose_attention(attn: str, device: torch.device, dtype: torch.dtype) -> str:
    """'auto' is flash_attention_2 where it is installed and works, else SDPA."""
    if attn != 'auto':
        return attn
    fits = device.type == 'cuda' and dtype == torch.bfloat16 and importlib.util.find_spec('flash_attn') is not None
    chosen = 'flash_attention_2' if fits else 'sdpa'
    logger.info('attention: %s', chosen)
    return chosen


def _ids(value: int | Sequence[int] | None) -> tuple[int, ...]:
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)
