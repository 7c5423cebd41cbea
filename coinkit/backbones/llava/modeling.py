"""transformers' LLaVA whose own forward also takes the published ids: -200 for a picture, no token of the vocabulary.

Modules and parameter names are transformers', and so is the class name: saved folders say the stock class, which loads
them. A picture is one -200, expanded here as the published code does, or one at each of its positions.
Shape suffixes: B rows, L tokens, P pictures, S tokens of one picture, H hidden, K the tokens of a row that are kept.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from coinkit.backbones.turns import IMAGE_ID
from coinkit.data.batch import IGNORE


@dataclass
class Rows:
    """Ids with their mask and labels."""

    ids_BL: Tensor
    mask_BL: Tensor
    labels_BL: Tensor | None = None
    pictures_B: Tensor | None = None  # how many a row shows, known once they are at full length

    @property
    def is_image_BL(self) -> Tensor:
        return (self.ids_BL == IMAGE_ID) & self.mask_BL


class LlavaForConditionalGeneration(transformers.LlavaForConditionalGeneration):
    """LLaVA-1.5. `pixel_values` are the pictures in row and position order; a text-only row may have a zero picture."""

    def forward(self, input_ids: Tensor | None = None, pixel_values: Tensor | None = None,
                attention_mask: Tensor | None = None, labels: Tensor | None = None, position_ids: Tensor | None = None,
                past_key_values: Any = None, logits_to_keep: int | Tensor = 0, **others: Any) -> Any:
        # generate() passes what it finds in this signature
        others |= dict(past_key_values=past_key_values, logits_to_keep=logits_to_keep)
        if input_ids is None or not self._takes(input_ids, pixel_values):
            return super().forward(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask,
                                   labels=labels, position_ids=position_ids, **others)
        mask_BL = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        rows, pixels_P = self._expanded(Rows(input_ids, mask_BL.bool(), labels), pixel_values)
        return super().forward(
            inputs_embeds=self._embeds(rows, pixels_P), attention_mask=rows.mask_BL.long(), labels=rows.labels_BL,
            position_ids=_positions(rows.mask_BL) if position_ids is None else position_ids, **others)

    def generate(self, input_ids: Tensor | None = None, *, pixel_values: Tensor | None = None,
                 attention_mask: Tensor | None = None, **others: Any) -> Any:
        """As transformers' own; the ids that come back have every picture at its full length."""
        given = others.pop('inputs', None) if input_ids is None else input_ids
        if given is not None and bool((given == IMAGE_ID).any()):
            mask_BL = torch.ones_like(given) if attention_mask is None else attention_mask
            rows, pixel_values = self._expanded(Rows(given, mask_BL.bool()), pixel_values, padding_side='left')
            given, attention_mask = rows.ids_BL, rows.mask_BL.long()
        if given is not None:
            others['inputs'] = given
        return super().generate(pixel_values=pixel_values, attention_mask=attention_mask, **others)

    def picture_features(self, pixels_P: Tensor) -> Tensor:
        """Projected features (P, S, H) of the chosen layer; the tower runs without gradient unless it trains."""
        tower, config = self.model.vision_tower, self.config
        trains = torch.is_grad_enabled() and any(one.requires_grad for one in tower.parameters())
        with contextlib.nullcontext() if trains else torch.no_grad():
            states = tower(pixels_P, output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        selected = [states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        if config.vision_feature_select_strategy == 'default':  # without the class token
            selected = [state[:, 1:] for state in selected]
        return self.model.multi_modal_projector(torch.cat(selected, -1))

    @property
    def unread_parts(self) -> tuple[str, ...]:
        """The tower's layers behind the deepest one that is read, and CLIP's last norm, which only its pooled output has."""
        layers, count = self.config.vision_feature_layer, self.config.vision_config.num_hidden_layers
        read = max(layer % (count + 1) for layer in ([layers] if isinstance(layers, int) else layers))  # 0: the embeddings
        behind = [f'encoder.layers.{number}' for number in range(read, count)]
        tower = {name for name, _ in self.model.vision_tower.named_modules()}
        norm = ['post_layernorm'] if self.config.vision_config.model_type == 'clip_vision_model' else []
        return tuple(f'model.vision_tower.{name}' for name in [*behind, *norm] if name in tower)

    def _takes(self, input_ids: Tensor, pixel_values: Tensor | None) -> bool:
        """Whether these are published ids: a picture's id among them, or only zero pictures for text-only rows."""
        if bool((input_ids == IMAGE_ID).any()):
            return True
        if pixel_values is None or len(pixel_values) != len(input_ids):
            return False
        return int((input_ids == self.config.image_token_id).sum()) != len(pixel_values) * self.tokens_per_image

    @property
    def tokens_per_image(self) -> int:
        vision = self.config.vision_config
        cls = self.config.vision_feature_select_strategy == 'full'
        return (vision.image_size // vision.patch_size) ** 2 + cls

    def _expanded(self, rows: Rows, pixels_P: Tensor | None, *,
                  padding_side: str | None = None) -> tuple[Rows, Tensor | None]:
        """Rows with pictures at full length, and the pictures that they show."""
        counts_B, slots = rows.is_image_BL.sum(1), self.tokens_per_image
        num_given = 0 if pixels_P is None else len(pixels_P)
        if _is_full_length(rows.is_image_BL, slots) and num_given in _allowed(counts_B // slots):
            return replace(rows, pictures_B=counts_B // slots), _shown(pixels_P, counts_B // slots)
        if num_given not in _allowed(counts_B):
            allowed = ' or '.join(map(str, sorted(_allowed(counts_B))))
            raise ValueError(f'pixel_values holds {num_given} pictures; the ids show {int(counts_B.sum())} '
                             f'(allowed: {allowed}, or ids with {slots} positions for each).')
        side = padding_side or getattr(self.config, 'tokenizer_padding_side', 'right')
        longest = getattr(self.config, 'tokenizer_model_max_length', None)
        expanded = expand(rows, slots, padding_side=side, max_length=longest)
        return replace(expanded, pictures_B=counts_B), _shown(pixels_P, counts_B)

    def _embeds(self, rows: Rows, pixels_P: Tensor | None) -> Tensor:
        """Token embeddings with the features at the picture positions, zero where padding is."""
        is_image_BL = rows.is_image_BL
        safe_BL = rows.ids_BL.masked_fill(is_image_BL | ~rows.mask_BL, 0)  # any id of the vocabulary: replaced below
        embeds_BLH = self.get_input_embeddings()(safe_BL).masked_fill(~rows.mask_BL[..., None], 0)
        if pixels_P is None or not len(pixels_P):
            return embeds_BLH
        features_PSH = self.picture_features(pixels_P.to(self.model.vision_tower.dtype)).to(embeds_BLH.dtype)
        of_rows = features_PSH.flatten(0, 1).split((rows.pictures_B * features_PSH.shape[1]).tolist())
        kept_B = is_image_BL.sum(1).tolist()  # less than all where a row was cut inside a picture
        shown = torch.cat([one[:kept] for one, kept in zip(of_rows, kept_B, strict=True)])
        return embeds_BLH.masked_scatter(is_image_BL[..., None], shown)


def expand(rows: Rows, slots: int, *, padding_side: str, max_length: int | None = None) -> Rows:
    """Every picture at `slots` positions without label, cut to `max_length`, padding taken off and put on again."""
    ids, labels = [], []
    for row, ids_L in enumerate(rows.ids_BL):
        mask_L = rows.mask_BL[row]
        counts_K = torch.where(ids_L[mask_L] == IMAGE_ID, slots, 1)
        ids.append(ids_L[mask_L].repeat_interleave(counts_K)[:max_length])
        if rows.labels_BL is not None:
            labels.append(rows.labels_BL[row][mask_L].repeat_interleave(counts_K)[:max_length])
    ids_BL = _padded(ids, padding_side, 0)
    mask_BL = _padded([torch.ones_like(one, dtype=torch.bool) for one in ids], padding_side, False)
    labels_BL = _padded(labels, padding_side, IGNORE).masked_fill(ids_BL == IMAGE_ID, IGNORE) if labels else None
    return Rows(ids_BL, mask_BL, labels_BL)


def _padded(rows: list[Tensor], side: str, value: int | bool) -> Tensor:
    longest = max(len(row) for row in rows)
    gaps = [longest - len(row) for row in rows]
    return torch.stack([F.pad(row, (gap, 0) if side == 'left' else (0, gap), value=value)
                        for row, gap in zip(rows, gaps, strict=True)])


def _positions(mask_BL: Tensor) -> Tensor:
    """0, 1... from the first real token on; padding on the right counts on, as published."""
    first_B1 = mask_BL.long().argmax(1, keepdim=True)
    return (torch.arange(mask_BL.shape[1], device=mask_BL.device)[None] - first_B1).clamp(min=0)


def _is_full_length(is_image_BL: Tensor, slots: int) -> bool:
    touches = bool((is_image_BL[:, 1:] & is_image_BL[:, :-1]).any()) or slots == 1
    return touches and not bool((is_image_BL.sum(1) % slots).any())


def _allowed(counts_B: Tensor) -> set[int]:
    """How many pictures may be given for rows that show so many: these, or one more per text-only row."""
    return {int(counts_B.sum()), int(counts_B.clamp(min=1).sum())}


def _shown(pixels_P: Tensor | None, counts_B: Tensor) -> Tensor | None:
    """The pictures that rows show; a zero picture of a text-only row is left out."""
    if pixels_P is None or len(pixels_P) == counts_B.sum():
        return pixels_P
    return pixels_P[(counts_B > 0).repeat_interleave(counts_B.clamp(min=1))]
