"""MiniGPT-v2 as one transformers model: EVA ViT, ln_vision, llama_proj, and transformers' own Llama.

Parameter names are the official ones, but for the PEFT wrapper around Llama (`llama_model.base_model.model.` there is
`llama_model.` here) and its adapters, which are merged on loading or become a block of an adapter bank.
A picture is the id IMAGE_ID, once per picture or at every one of its positions.
Shape suffixes: B rows, L tokens, H hidden, P pictures, T patches and CLS, W tower width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationMixin, LlamaForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast

from coinkit.backbones.minigpt_v2.configuration import MiniGPTv2Config
from coinkit.backbones.minigpt_v2.vision import EvaAttention, EvaVisionTransformer, Fp32LayerNorm
from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE


class MiniGPTv2ForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """The published model; `forward` takes ids with IMAGE_ID, or finished embeddings as the published code does."""

    config_class = MiniGPTv2Config
    base_model_prefix = ''
    main_input_name = 'input_ids'
    input_modalities = ('image', 'text')
    supports_gradient_checkpointing = True
    _no_split_modules = ['EvaBlock', 'LlamaDecoderLayer']
    _supports_sdpa = _supports_flash_attn = _supports_attention_backend = True

    def __init__(self, config: MiniGPTv2Config):
        super().__init__(config)
        width, hidden = config.vit['embed_dim'], config.text_config.hidden_size
        self.visual_encoder = EvaVisionTransformer(config.vit, config.vit_norm_eps)
        self.ln_vision = Fp32LayerNorm(width, eps=config.ln_vision_eps)
        self.llama_proj = nn.Linear(width * config.merged_tokens, hidden)
        self.llama_model = LlamaForCausalLM(config.text_config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, EvaVisionTransformer):
            init.normal_(module.cls_token, std=0.02)
            init.normal_(module.pos_embed, std=0.02)
        if isinstance(module, EvaAttention) and module.q_bias is not None:
            init.zeros_(module.q_bias)
            init.zeros_(module.v_bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.llama_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.llama_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.llama_model.get_output_embeddings()

    def image_states(self, pixels_P: Tensor) -> Tensor:
        """What the frozen part makes of the pictures: normalised states (P, T, W), CLS first."""
        return self.ln_vision(self.visual_encoder(pixels_P.to(self.visual_encoder.pos_embed.dtype)))

    def project(self, states_PTW: Tensor) -> Tensor:
        """States to Llama's width, `merged_tokens` neighbours of a row of patches in one token."""
        patches_PTW = states_PTW[:, 1:]
        return self.llama_proj(patches_PTW.reshape(len(patches_PTW), -1, self.llama_proj.in_features))

    def image_embeds(self, pixels_P: Tensor) -> Tensor:
        return self.project(self.image_states(pixels_P))

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                pixel_values: Tensor | None = None, labels: Tensor | None = None, inputs_embeds: Tensor | None = None,
                reduction: str = 'mean', **kwargs: Any) -> CausalLMOutputWithPast:
        """`reduction` 'none' is the published score of multiple-choice answers: a row's mean over all positions."""
        if inputs_embeds is None:
            inputs_embeds, attention_mask, labels = self.embed(input_ids, attention_mask, pixel_values, labels)
        output = self.llama_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)
        if labels is not None:
            output.loss = causal_loss(output.logits, labels, reduction)
        return output

    def generate(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
                 pixel_values: Tensor | None = None, inputs_embeds: Tensor | None = None, **kwargs: Any) -> Any:
        """transformers' generate from embeddings: the result holds the new ids alone."""
        if inputs_embeds is None:
            inputs_embeds, attention_mask, _ = self.embed(input_ids, attention_mask, pixel_values)
        return super().generate(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)

    def embed(self, ids_BL: Tensor, mask_BL: Tensor | None = None, pixels_P: Tensor | None = None,
              labels_BL: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Embeddings with the pictures in place, and mask and labels of their length."""
        if pixels_P is not None:
            ids_BL, mask_BL, labels_BL = self._at_full_length(ids_BL, mask_BL, labels_BL, len(pixels_P))
        is_image_BL = ids_BL == IMAGE_ID
        if pixels_P is None and is_image_BL.any():
            raise ValueError(f'input_ids hold the picture id {IMAGE_ID}, but there are no pixel_values.')
        embeds_BLH = self.get_input_embeddings()(ids_BL.masked_fill(is_image_BL, 0))
        if pixels_P is not None:
            embeds_BLH = embeds_BLH.masked_scatter(is_image_BL[..., None], self.image_embeds(pixels_P).to(embeds_BLH.dtype))
        return embeds_BLH, mask_BL, labels_BL

    def _at_full_length(self, ids_BL: Tensor, mask_BL: Tensor | None, labels_BL: Tensor | None,
                        pictures: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        found, tokens = int((ids_BL == IMAGE_ID).sum()), self.config.tokens_per_image
        if found == pictures * tokens:
            return ids_BL, mask_BL, labels_BL
        if found != pictures:
            raise ValueError(f'input_ids hold the picture id {IMAGE_ID} {found} times for {pictures} pictures of {tokens} '
                             f'tokens: expected {pictures} times (one each) or {pictures * tokens}.')
        return expanded(ids_BL, mask_BL, labels_BL, tokens)


def expanded(ids_BL: Tensor, mask_BL: Tensor | None, labels_BL: Tensor | None,
             tokens: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every IMAGE_ID repeated `tokens` times; rows of unequal length are padded on the side that is padded already."""
    mask_BL = torch.ones_like(ids_BL) if mask_BL is None else mask_BL
    counts_BL = torch.where(ids_BL == IMAGE_ID, tokens, 1)
    side = 'left' if bool((mask_BL[:, 0] == 0).any()) else 'right'

    def repeated(values_BL: Tensor, padding: int) -> Tensor:
        rows = [row.repeat_interleave(counts) for row, counts in zip(values_BL, counts_BL, strict=True)]
        return pad_sequence(rows, batch_first=True, padding_value=padding, padding_side=side)

    labels_BL = None if labels_BL is None else repeated(labels_BL.masked_fill(ids_BL == IMAGE_ID, IGNORE), IGNORE)
    return repeated(ids_BL, 0), repeated(mask_BL, 0), labels_BL


def causal_loss(logits_BLV: Tensor, labels_BL: Tensor, reduction: str = 'mean') -> Tensor:
    """Cross-entropy of the next token: its mean over labelled positions, or with 'none' each row's over all positions."""
    if reduction not in ('mean', 'none'):
        raise ValueError(f"reduction is {reduction!r}, allowed: 'mean', 'none'")
    logits_BVL, wanted_BL = logits_BLV[:, :-1].float().transpose(1, 2), labels_BL[:, 1:]
    loss = F.cross_entropy(logits_BVL, wanted_BL, ignore_index=IGNORE, reduction=reduction)
    return loss if reduction == 'mean' else loss.mean(1)
