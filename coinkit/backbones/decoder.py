"""What the native backbones share: text and picture features side by side in one causal decoder.

Ids hold IMAGE_ID at every picture position and are merged with the picture features here, so the vocabulary keeps its
size and no text can be mistaken for a picture. The head is applied only where a label is. A sub-class names its modules
(`decoder`, `head`, `embed_tokens`) and turns pixels into features. The model arrives frozen: the method chooses what trains.
Shape suffixes: B rows, L tokens, N labelled positions, V vocabulary, P pictures, S tokens of one picture, H hidden.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from coinkit.backbones.base import Backbone
from coinkit.backbones.samples import SampleEncoder, collate
from coinkit.backbones.turns import IMAGE_ID
from coinkit.backbones.weights import read_json
from coinkit.data.batch import IGNORE, Batch, Encoded, ForwardOutput
from coinkit.types import Query, Sample


class DecoderBackbone(Backbone):
    """A causal language model that reads picture features between its token embeddings."""

    checkpoint: str  # as given, and the folder that it means
    folder: Path
    template_name: str
    samples: SampleEncoder
    codec: Any  # TextCodec, or an object that encodes and decodes like it
    dtype: torch.dtype
    image_shape: tuple[int, int, int]  # channels, height, width of one picture as `features` takes it

    # --- what a sub-class provides ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def decoder(self) -> nn.Module:
        """Called with `inputs_embeds`, `attention_mask`, `position_ids`, a cache; returns `.last_hidden_state`."""

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """Hidden states to logits."""

    @property
    @abstractmethod
    def embed_tokens(self) -> nn.Module:
        """Ids to embeddings."""

    @abstractmethod
    def features(self, pixels_P: Tensor) -> Tensor:
        """Pictures (P, ...) to features (P, S, H) in the decoder's width; no gradient into a tower that does not train."""

    def new_cache(self) -> Any:
        """An empty key-value cache of this decoder."""
        from transformers import DynamicCache

        return DynamicCache(config=self.decoder.config)

    # --- samples ------------------------------------------------------------------------------------------------

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        return self.samples.encode(sample, training=training)

    def prompt_length(self, sample: Sample | Query) -> int:
        return self.samples.prompt_length(sample)

    def collate(self, items: Sequence[Encoded], *, padding_side: str) -> Batch:
        return collate(items, padding_side=padding_side, pad_id=self.codec.eos_id)

    def decode(self, ids: Sequence[int]) -> str:
        return self.codec.decode(ids)

    def read_answer(self, text: str, sample: Sample | Query) -> str:
        return self.samples.read_answer(text, sample)

    # --- model --------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> ForwardOutput:
        batch = batch.to(self.device)
        with self._autocast():
            hidden_BLH = self._hidden(batch, use_cache=False)
            labels_BL = batch.labels_BL[:, 1:]  # position t predicts token t + 1
            rows_N, positions_N = (labels_BL != IGNORE).nonzero(as_tuple=True)
            logits_NV = self.head(hidden_BLH[rows_N, positions_N]).float()
        labels_N = labels_BL[rows_N, positions_N]
        return ForwardOutput(F.cross_entropy(logits_NV, labels_N, reduction='none'), logits_NV, labels_N, rows_N)

    @torch.no_grad()
    def prefill(self, batch: Batch) -> tuple[Tensor, Any]:
        batch, cache = batch.to(self.device), self.new_cache()
        with self._autocast():
            hidden_BLH = self._hidden(batch, past_key_values=cache, use_cache=True)
            return self.head(hidden_BLH[:, -1]), cache

    @torch.no_grad()
    def decode_step(self, ids_B: Tensor, attention_mask_BL: Tensor, cache: Any) -> Tensor:
        positions_B1 = attention_mask_BL.sum(1, keepdim=True) - 1
        with self._autocast():
            hidden_B1H = self.decoder(
                inputs_embeds=self.embed_tokens(ids_B[:, None]), attention_mask=self._step_mask(attention_mask_BL),
                position_ids=positions_B1, past_key_values=cache, use_cache=True).last_hidden_state
            return self.head(hidden_B1H[:, -1])

    def _hidden(self, batch: Batch, **cache: Any) -> Tensor:
        begun_BL = batch.attention_mask_BL.cummax(1).values  # from a row's first real token on, masked ones count as well
        positions_BL = (begun_BL.cumsum(1) - 1).clamp(min=0)
        return self.decoder(inputs_embeds=self.embed(batch), attention_mask=batch.attention_mask_BL,
                            position_ids=positions_BL, **cache).last_hidden_state

    def _step_mask(self, attention_mask_BL: Tensor) -> Tensor:
        # one query sees every real key, so the 4-D mask is the 2-D one: saves building it (SDPA takes it as it is)
        if self.decoder.config._attn_implementation != 'sdpa':
            return attention_mask_BL
        return attention_mask_BL[:, None, None, :].bool()

    def embed(self, batch: Batch) -> Tensor:
        """Text embeddings with the picture features at the picture positions, in row and position order."""
        is_image_BL = batch.input_ids_BL == IMAGE_ID
        embeds_BLH = self.embed_tokens(batch.input_ids_BL.masked_fill(is_image_BL, 0))
        if batch.pixel_values_P is None:
            return embeds_BLH + self._no_features(embeds_BLH.dtype)
        features_PSH = self.features(batch.pixel_values_P.to(self.dtype)).to(embeds_BLH.dtype)
        return embeds_BLH.masked_scatter(is_image_BL[..., None], features_PSH)

    def _no_features(self, dtype: torch.dtype) -> Tensor | float:
        """A zero that depends on the picture path's parameters: text-only batches give them zero gradients, not none.

        Every process of a distributed run must run the same modules in step (ZeRO-3 gathers each one's parameters
        together), so there an empty picture goes through the tower.
        """
        distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not distributed and not (torch.is_grad_enabled() and self._picture_path_trains()):
            return 0.0
        features = self.features(torch.zeros(1, *self.image_shape, device=self.device, dtype=self.dtype))
        return (features.sum() * 0).to(dtype)

    def _picture_path_trains(self) -> bool:
        names = [name for name in (self.vision_tower, self.projector) if name]
        return any(one.requires_grad for name in names for one in self.model.get_submodule(name).parameters())

    # --- identity -----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        config, text = self.model.config, self.model.config.get_text_config()
        return super().describe() | {
            'checkpoint': self.checkpoint, 'model_type': config.model_type, 'template': self.template_name,
            'dtype': str(self.dtype).removeprefix('torch.'), 'hidden_size': text.hidden_size,
            'layers': text.num_hidden_layers, 'vocabulary': text.vocab_size,
            'tokens_per_image': self.samples.tokens_per_image}

    def _save_side_files(self, folder: Path, **card: Any) -> None:
        """Tokenizer, and in coinkit.json the template and pixel statistics, so that the folder loads as it was saved."""
        self.codec.save(folder)
        pixels = self.samples.read_pixels
        card = {**read_json(self.folder / 'coinkit.json'), 'template': self.template_name, **card,
                'image_mean': pixels.mean, 'image_std': pixels.std}
        (folder / 'coinkit.json').write_text(json.dumps(card, indent=1) + '\n', encoding='utf-8')

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)
