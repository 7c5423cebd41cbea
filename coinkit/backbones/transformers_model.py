"""What backbones share that run a whole transformers model: its own forward, processor and chat template.

Only the labelled positions reach the head: a hook picks them from the hidden states, so no (rows, tokens, vocabulary)
tensor is made. Positions are given explicitly, in training and in generation: left padding cannot shift them, and each
row's next position travels with its cache, whichever rows have left.
Shape suffixes: B rows, L tokens, N labelled positions, V vocabulary, H hidden, D position axes.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from coinkit.backbones.arguments import choice_problems, row_length
from coinkit.backbones.base import Backbone
from coinkit.backbones.chat import choose_template
from coinkit.backbones.chat_samples import ChatEncoder, collate_extras
from coinkit.backbones.hub_folder import (
    SIDE_FILES,
    check_folder,
    generation_config,
    local_folder,
    read_config,
    stop_ids,
)
from coinkit.backbones.loading import Start, shapes_only
from coinkit.backbones.model_parts import find_parts, linears_of, unread_in
from coinkit.backbones.processors import Processor, load_processor
from coinkit.backbones.weights import open_folder
from coinkit.data.batch import IGNORE, Batch, Encoded, ForwardOutput
from coinkit.errors import Problem, raise_problems
from coinkit.types import Query, Sample

SCOPES = ('language', 'all')
# picture features depend on the pictures alone and attention is causal: tests show it for each of these
CAUSAL = ('qwen2_vl', 'qwen2_5_vl', 'qwen3_vl', 'internvl', 'llava_onevision', 'idefics3', 'smolvlm')


@dataclass
class Rows:
    """Keys and values of the rows that still write, and each one's next position."""

    keys_values: Any
    next_B: Tensor

    def batch_select_indices(self, index: Tensor) -> None:
        self.keys_values.batch_select_indices(index)
        self.next_B = self.next_B[index]


class TransformersBackbone(Backbone):
    """A model class of transformers as it is. `lora_scope='all'` adapts the vision tower and the projector as well."""

    processor_kind: ClassVar[type[Processor]] = Processor
    samples: ChatEncoder

    def __init__(self, checkpoint: str, *, dtype: str = 'bfloat16', template: str | None = None,
                 max_length: int | None = None, attn: str = 'auto', device: str = 'auto', lora_scope: str = 'language',
                 lora_targets: str | Sequence[str] | None = None, init_seed: int | None = None,
                 quantization: str | None = None, key_mapping: Mapping[str, str] | None = None):
        raise_problems(self.preflight(checkpoint, dtype=dtype, template=template, max_length=max_length, attn=attn,
                                      device=device, lora_scope=lora_scope, init_seed=init_seed, quantization=quantization,
                                      key_mapping=key_mapping))
        start = Start.of(dtype, device, attn, init_seed, quantization)
        self.checkpoint, self.folder, self.dtype = checkpoint, local_folder(checkpoint), start.dtype
        config = read_config(self.folder)
        context = getattr(config.get_text_config(), 'max_position_embeddings', None)
        self.max_length = row_length(max_length, context)
        self.context_length = context or self.max_length
        self.model = self._build(config, start, key_mapping)
        self._name_parts(lora_scope, lora_targets)
        self.processor = load_processor(self.folder, config, kind=self.processor_kind)
        self.eos_ids = stop_ids(self.folder, self.processor.tokenizer)
        self.samples = self._encoder(template)
        self.samples.check()

    def _build(self, config: Any, start: Start, key_mapping: Mapping[str, str] | None) -> Any:
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

        kind = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
        parts = find_parts(shapes_only(kind, config, dtype=self.dtype)) if start.quantization else None
        keep = () if parts is None else (parts.vision_tower, parts.projector, parts.head)
        model = start.model(kind, config, lambda: open_folder(self.folder), folder=self.folder, key_mapping=key_mapping,
                            keep=[name for name in keep if name])
        if (settings := generation_config(self.folder)) is not None:
            model.generation_config = settings
        return model

    def _name_parts(self, scope: str, targets: str | Sequence[str] | None) -> None:
        self.parts = find_parts(self.model)
        # as instance attributes: they differ from model to model
        self.language_model, self.vision_tower = self.parts.language_model, self.parts.vision_tower
        self.projector = self.parts.projector
        own = linears_of(self.model, self.language_model) if scope == 'language' else 'all-linear'
        self.lora_targets = targets or own
        accepted = inspect.signature(self.decoder.forward).parameters
        self._takes_positions = 'position_ids' in accepted
        self._index = getattr(getattr(self.model, 'model', None), 'get_rope_index', None)

    def _encoder(self, template: str | None) -> ChatEncoder:
        tokenizer, config = self.processor.tokenizer, self.model.config
        inner = self.processor.inner
        chat = choose_template(template, getattr(inner, 'chat_template', None) or tokenizer.chat_template,
                               folder=str(self.folder), tokens=tokenizer.special_tokens_map)
        image_id = getattr(config, 'image_token_id', None)
        return ChatEncoder(
            self.processor, chat, image_id if image_id is not None else config.image_token_index, self.eos_ids,
            self.max_length, self.context_length, positions=self._positions if self._index else None,
            shares_prefix=config.model_type in CAUSAL, reads_instruction=hasattr(inner, 'qformer_tokenizer'))

    @property
    def decoder(self) -> nn.Module:
        return self.model.get_submodule(self.language_model)

    @property
    def unread(self) -> tuple[str, ...]:
        return unread_in(self.model, self.vision_tower)

    # --- samples ------------------------------------------------------------------------------------------------

    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        return self.samples.encode(sample, training=training)

    def prompt_length(self, sample: Sample | Query) -> int:
        return self.samples.prompt_length(sample)

    def collate(self, items: Sequence[Encoded], *, padding_side: str) -> Batch:
        pad = self.processor.tokenizer.pad_token_id
        return collate_extras(items, padding_side=padding_side, pad_id=min(self.eos_ids) if pad is None else pad)

    def decode(self, ids: Sequence[int]) -> str:
        return self.processor.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def _positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """Positions (3, L) of a row with pictures of two dimensions, by the model's own rule."""
        known = inspect.signature(self._index).parameters
        given = {name: value for name, value in inputs.items() if name in known}
        return self._index(**given, attention_mask=torch.ones_like(inputs['input_ids']))[0][:, 0]

    # --- model --------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> ForwardOutput:
        batch = batch.to(self.device)
        labels_BL = batch.labels_BL[:, 1:]  # position t predicts token t + 1
        rows_N, places_N = (labels_BL != IGNORE).nonzero(as_tuple=True)
        with self._autocast(), self._picture_path_in_step(batch):
            logits_1NV = self._logits(self.model, lambda hidden_BLH: hidden_BLH[rows_N, places_N][None],
                                      **self._inputs(batch), use_cache=False)
        logits_NV, labels_N = logits_1NV[0].float(), labels_BL[rows_N, places_N]
        return ForwardOutput(F.cross_entropy(logits_NV, labels_N, reduction='none'), logits_NV, labels_N, rows_N)

    @torch.no_grad()
    def prefill(self, batch: Batch) -> tuple[Tensor, Rows]:
        from transformers import DynamicCache

        batch, cache = batch.to(self.device), DynamicCache(config=self.model.config.get_text_config(decoder=True))
        with self._autocast():
            logits_B1V = self._logits(self.model, _last, **self._inputs(batch), past_key_values=cache, use_cache=True)
        return logits_B1V[:, -1], Rows(cache, _row_positions(batch).amax((1, 2)) + 1)

    @torch.no_grad()
    def decode_step(self, ids_B: Tensor, attention_mask_BL: Tensor, cache: Rows) -> Tensor:
        owner = self.model.get_submodule(self.parts.language_owner)
        place = self._place(cache.next_B[:, None, None].expand(-1, 3 if self._index else 1, -1))
        with self._autocast():
            logits_B1V = self._logits(owner, _last, input_ids=ids_B[:, None], attention_mask=attention_mask_BL, **place,
                                      past_key_values=cache.keys_values, use_cache=True)
        cache.next_B = cache.next_B + 1
        return logits_B1V[:, -1]

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        extras = {name: value.to(self.dtype) if value.is_floating_point() else value
                  for name, value in batch.extras.items() if name != 'position_ids'}
        if batch.pixel_values_P is not None:
            extras['pixel_values'] = batch.pixel_values_P.to(self.dtype)
        return {'input_ids': batch.input_ids_BL, 'attention_mask': batch.attention_mask_BL, **extras,
                **self._place(_row_positions(batch))}

    def _place(self, positions_BDL: Tensor) -> dict[str, Tensor]:
        """Positions as the model takes them: (B, L), or (3, B, L) for pictures with height and width."""
        if not self._takes_positions:
            return {}
        return {'position_ids': positions_BDL.transpose(0, 1) if self._index else positions_BDL[:, 0]}

    def _logits(self, owner: nn.Module, pick: Callable[[Tensor], Tensor], **inputs: Any) -> Tensor:
        """Logits of the hidden states that `pick` chooses; the head sees no others."""
        head = self.model.get_submodule(self.parts.head)
        hook = head.register_forward_pre_hook(lambda _, given: (pick(given[0]), *given[1:]))
        try:
            return owner(**inputs).logits
        finally:
            hook.remove()

    @contextmanager
    def _picture_path_in_step(self, batch: Batch) -> Iterator[None]:
        """A batch without pictures runs a blank one where it must: see DecoderBackbone._no_features.

        It runs after the embeddings, where pictures run: processes stay in step module by module.
        """
        distributed = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        trains = torch.is_grad_enabled() and self._picture_path_trains()
        if batch.pixel_values_P is not None or not (distributed or trains):
            yield
            return
        hook = self.model.get_input_embeddings().register_forward_hook(lambda _, __, out: out + self._no_features(out.dtype))
        try:
            yield
        finally:
            hook.remove()

    def _no_features(self, dtype: torch.dtype) -> Tensor:
        read = self.model.get_image_features
        known = inspect.signature(read).parameters
        blank = {name: value.to(self.device) for name, value in self.processor.blank().items() if name in known}
        blank['pixel_values'] = blank['pixel_values'].to(self.dtype)
        return (_total(read(**blank, return_dict=True)) * 0).to(dtype)

    def _picture_path_trains(self) -> bool:
        names = [name for name in (self.vision_tower, self.projector) if name]
        return any(one.requires_grad for name in names for one in self.model.get_submodule(name).parameters())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    # --- folders ------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write a folder that the same type, and transformers, loads again: weights, processor, chat template."""
        folder = Path(folder)
        self.model.save_pretrained(str(folder))
        for entry in sorted(self.folder.iterdir()):
            if entry.is_file() and entry.name in SIDE_FILES:
                shutil.copy(entry, folder)
            elif entry.is_dir() and entry.name == 'qformer_tokenizer':
                shutil.copytree(entry, folder / entry.name, dirs_exist_ok=True)

    @classmethod
    def preflight(cls, checkpoint: str = '', **config: Any) -> list[Problem]:
        return choice_problems(config, lora_scope=SCOPES) + check_folder(
            checkpoint, expected=cls.__name__, weights=config.get('init_seed') is None, template=config.get('template'))

    def describe(self) -> dict[str, Any]:
        text = self.model.config.get_text_config()
        return super().describe() | {
            'checkpoint': self.checkpoint, 'model_type': self.model.config.model_type,
            'template': self.samples.template.source, 'dtype': str(self.dtype).removeprefix('torch.'),
            'hidden_size': text.hidden_size, 'layers': text.num_hidden_layers, 'vocabulary': text.vocab_size}


def _last(hidden_BLH: Tensor) -> Tensor:
    return hidden_BLH[:, -1:]


def _row_positions(batch: Batch) -> Tensor:
    """Positions (B, D, L): 0 at a row's first real token, counted on by the model's rule where it has one."""
    if 'position_ids' in batch.extras:
        return batch.extras['position_ids']
    return (batch.attention_mask_BL.cumsum(1) - 1).clamp(min=0)[:, None]


def _total(value: Any) -> Tensor | float:
    """The sum of every number in a model's output."""
    if isinstance(value, Tensor):
        return value.sum() if value.is_floating_point() else 0.0
    if isinstance(value, Mapping):
        value = list(value.values())
    return sum((_total(each) for each in value), 0.0) if isinstance(value, list | tuple) else 0.0
