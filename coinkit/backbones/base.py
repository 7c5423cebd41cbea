"""What every backbone offers the rest of coinkit: encode, collate, forward at the labelled positions, greedy decoding.

A backbone owns a transformers model and its tokenizer and hides how the model wants its prompt, its pixels and its ids.
Parameter names anywhere in coinkit are the names of `backbone.model.named_parameters()`.
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from coinkit.backbones.memory import DecoderSizes, estimate_bytes
from coinkit.data.batch import Batch, Encoded, ForwardOutput
from coinkit.errors import Problem
from coinkit.types import Query, Sample

if TYPE_CHECKING:
    from coinkit.nn.bank import AdapterBank

logger = logging.getLogger(__name__)


class Backbone(ABC):
    """One vision-language model. Sub-classes set `model` and the attributes below in `__init__`."""

    model: nn.Module
    dtype: torch.dtype  # of the frozen weights and of the computation
    max_length: int  # training rows are cut here
    context_length: int  # tokens of a prompt and its answer together
    eos_ids: frozenset[int]
    lora_targets: str  # regular expression over module names (full match): the language model's linears
    projector: ClassVar[str] = ''  # module that maps picture features into the language model; '' = none
    language_model: ClassVar[str] = ''
    vision_tower: ClassVar[str] = ''
    recomputes = False  # whether gradient checkpointing is on

    @abstractmethod
    def encode(self, sample: Sample | Query, *, training: bool) -> Encoded:
        """Tokens, labels and pixels of one sample; runs in worker threads. Ends in the prompt unless `training`."""

    @abstractmethod
    def collate(self, items: Sequence[Encoded], *, padding_side: str) -> Batch:
        """Pad to one batch: 'right' to train, 'left' to generate."""

    @abstractmethod
    def forward(self, batch: Batch) -> ForwardOutput:
        """Loss and logits at the labelled positions; hidden states are gathered there before the head is applied."""

    @abstractmethod
    def prefill(self, batch: Batch) -> tuple[Tensor, Any]:
        """Run left-padded prompts; returns the last position's logits (B, V) and a key-value cache."""

    @abstractmethod
    def decode_step(self, ids_B: Tensor, attention_mask_BL: Tensor, cache: Any) -> Tensor:
        """One more token per row; returns the next logits (B, V)."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens dropped and outer whitespace stripped."""

    @abstractmethod
    def prompt_length(self, sample: Sample | Query) -> int:
        """Tokens of the generation prompt, pictures included, without opening a picture: batches are planned by it."""

    def insert_bank(self, *, targets: str | list[str] | None = None, gate: str = 'none', dropout: float = 0.0,
                    dropout_mode: str = 'shared') -> AdapterBank:
        """Put an empty adapter bank on the model's linears; `targets` as in PEFT, default the language model's.

        Linears that the model does not read (`unread`) are left out: an adapter there would never get a gradient.
        """
        from coinkit.backbones.inject import find_targets, inject

        targets = targets or self.lora_targets
        if self.unread and (idle := len(find_targets(self.model, targets)) - len(self.find_targets(targets))):
            logger.info('%d linears in %s get no adapter: the model does not read them', idle, ', '.join(self.unread))
        return inject(self.model, targets=targets, exclude=self._unread_pattern, gate=gate, dropout=dropout,
                      dropout_mode=dropout_mode)

    def find_targets(self, targets: str | list[str] | None = None) -> list[str]:
        """Names of the linears that `insert_bank` would take."""
        from coinkit.backbones.inject import find_targets

        return find_targets(self.model, targets or self.lora_targets, self._unread_pattern)

    @property
    def unread(self) -> tuple[str, ...]:
        """Modules whose output the model does not read: nothing in them gets a gradient, so nothing in them is trained."""
        return ()

    @property
    def _unread_pattern(self) -> str | None:
        return rf'({"|".join(map(re.escape, self.unread))})\..+' if self.unread else None

    def read_lora(self, folder: str) -> Mapping[str, tuple[Tensor, Tensor]]:
        """A and B by module, of a PEFT LoRA folder."""
        from coinkit.backbones.peft_io import read_peft

        return read_peft(folder).factors

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Recompute the language model's layers in the backward pass, or not."""
        language = self.model.get_submodule(self.language_model)
        # its name in transformers 5.23, and before
        kind = 'activation' if hasattr(language, 'activation_checkpointing_enable') else 'gradient'
        if enabled:
            getattr(language, f'{kind}_checkpointing_enable')({'use_reentrant': False})
        elif self.recomputes:
            getattr(language, f'{kind}_checkpointing_disable')()
        self.recomputes = enabled

    def read_answer(self, text: str, sample: Sample | Query) -> str:
        """A generated text as predictions store it, in the task's own form."""
        return text

    def decoder_sizes(self) -> DecoderSizes:
        """Sizes of the language model, for estimates."""
        return DecoderSizes.of(self.model.config.get_text_config())

    def estimate_bytes(self, *, training: bool, trained_parameters: int = 0, micro_batch_size: int = 1,
                       max_length: int | None = None, gradient_checkpointing: bool = True) -> dict[str, int]:
        """Estimated bytes of one process by purpose and in total; works on a model that has shapes only."""
        weights = sum(one.numel() * one.element_size() for one in self.model.parameters())
        return estimate_bytes(
            self.decoder_sizes(), weights=weights, training=training, dtype_bytes=self.dtype.itemsize,
            micro_batch_size=micro_batch_size, max_length=max_length or self.max_length,
            trained_parameters=trained_parameters, gradient_checkpointing=gradient_checkpointing)

    @classmethod
    def preflight(cls, **config: Any) -> list[Problem]:
        """What is missing for this backbone (files, packages), found before anything is loaded."""
        return []

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def describe(self) -> dict[str, Any]:
        """Identity for run records and adapter cards: model type, sizes, dtype."""
        return {'type': type(self).__name__, 'parameters': sum(p.numel() for p in self.model.parameters())}
