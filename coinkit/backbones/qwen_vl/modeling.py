"""The whole Qwen-VL model with the published parameter names and the published layout of ids.

In that layout a picture is `<img>`, `n_queries` slots and `</img>`; the slots hold a path's bytes and padding, which
only name the picture: their embeddings are replaced by its features. Pictures are taken in row and position order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from coinkit.backbones.qwen_vl.configuration import QwenVLConfig
from coinkit.backbones.qwen_vl.language import QwenVLModel, QwenVLPreTrainedModel
from coinkit.backbones.qwen_vl.positions import QwenVLCache


class QwenVLForConditionalGeneration(QwenVLPreTrainedModel, GenerationMixin):
    """Qwen-VL and Qwen-VL-Chat."""

    def __init__(self, config: QwenVLConfig):
        super().__init__(config)
        self.transformer = QwenVLModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.transformer.wte = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                pixel_values: Tensor | None = None, labels: Tensor | None = None, inputs_embeds: Tensor | None = None,
                position_ids: Tensor | None = None, past_key_values: QwenVLCache | None = None,
                use_cache: bool | None = None, logits_to_keep: int = 0, **other: Any) -> CausalLMOutputWithPast:
        """Logits, and the loss where labels are not -100. Padding ids at pictures never reach the model."""
        if asked := sorted(name for name, value in other.items() if name.startswith('output_') and value):
            raise ValueError(f"{', '.join(asked)}: Qwen-VL returns logits, the loss and the cache only.")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError('give either input_ids or inputs_embeds')
        if inputs_embeds is None:
            starting = past_key_values is None or past_key_values.get_seq_length() == 0
            inputs_embeds = self.embed(input_ids, pixel_values) if starting else self.transformer.wte(input_ids)
        outputs = self.transformer(inputs_embeds=inputs_embeds, attention_mask=attention_mask, position_ids=position_ids,
                                   past_key_values=past_key_values, use_cache=use_cache)
        logits_BLV = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            shifted_BL = F.pad(labels[:, 1:], (0, 1), value=-100)
            loss = F.cross_entropy(logits_BLV.float().flatten(0, 1), shifted_BL.flatten().to(logits_BLV.device))
        return CausalLMOutputWithPast(loss=loss, logits=logits_BLV, past_key_values=outputs.past_key_values)

    def embed(self, ids_BL: Tensor, pixels_P: Tensor | None) -> Tensor:
        """Embeddings with the features of every picture in its slots."""
        slots_BL = self._slots(ids_BL)
        pictures = 0 if pixels_P is None else len(pixels_P)
        wanted = int(slots_BL.sum()) // self.config.visual['n_queries']
        if wanted != pictures:
            raise ValueError(f'input_ids hold {wanted} pictures, pixel_values {pictures}.')
        embeds_BLH = self.transformer.wte(ids_BL)
        if not pictures:
            return embeds_BLH
        features_PSH = self.transformer.visual(pixels_P).to(embeds_BLH.dtype)
        return embeds_BLH.masked_scatter(slots_BL[..., None], features_PSH)

    def _slots(self, ids_BL: Tensor) -> Tensor:
        """Where pictures are: the positions between each `<img>` and its `</img>`."""
        start, slots = self.config.visual['image_start_id'], self.config.visual['n_queries']
        rows, starts = (ids_BL == start).nonzero(as_tuple=True)
        ends = (ids_BL == start + 1).nonzero(as_tuple=True)
        whole = len(rows) == len(ends[0]) and torch.equal(rows, ends[0]) and torch.equal(starts + slots + 1, ends[1])
        if not whole:
            raise ValueError(f'a picture must be the id {start}, {slots} slots and the id {start + 1}: '
                             'one is cut, or of another length.')
        slots_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        offsets = torch.arange(1, slots + 1, device=ids_BL.device)
        slots_BL[rows[:, None], starts[:, None] + offsets] = True
        return slots_BL

    def generate(self, *args: Any, past_key_values: QwenVLCache | None = None, **kwargs: Any) -> Any:
        """transformers' generation, on the cache that remembers each prompt's NTK step."""
        chosen = kwargs.get('generation_config') or self.generation_config
        if past_key_values is None and kwargs.get('use_cache', chosen.use_cache) is not False:
            past_key_values = self.transformer.new_cache()
        return super().generate(*args, past_key_values=past_key_values, **kwargs)
