"""What a backbone makes of samples: one `Encoded` per sample, one `Batch` per micro-batch, one `ForwardOutput` per forward.

Shape suffixes: B rows, L tokens, N labelled positions of the whole batch, V vocabulary, P pictures of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

IGNORE = -100  # label of a position that is not supervised


@dataclass
class Encoded:
    """One sample as tokens and pixels.

    `shared_prefix_length`: leading tokens whose hidden states cannot depend on what follows them.
    """

    sample_id: str
    input_ids_L: Tensor
    labels_L: Tensor
    pixel_values_P: Tensor | None = None  # (pictures of this sample, 3, height, width)
    shared_prefix_length: int = 0
    prefix_key: str = ''  # equal keys = equal prefixes (image and template)
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Batch:
    """Padded rows. `extras` holds what one backbone needs beyond the common fields, first dimension = rows or pictures."""

    ids: list[str]
    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    labels_BL: Tensor
    pixel_values_P: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def num_label_tokens(self) -> int:
        """Positions that contribute to the loss: labels after the causal shift."""
        return int((self.labels_BL[:, 1:] != IGNORE).sum())

    def without_labels(self) -> Batch:
        """The same rows supervised nowhere: a rank without samples of its own still runs the same forward."""
        return replace(self, labels_BL=self.labels_BL.new_full(self.labels_BL.shape, IGNORE))

    def to(self, device) -> Batch:
        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(self.ids, move(self.input_ids_BL), move(self.attention_mask_BL), move(self.labels_BL),
                     move(self.pixel_values_P), {key: move(value) for key, value in self.extras.items()})


@dataclass
class ForwardOutput:
    """The labelled positions only: cross-entropy per token (fp32), logits, gold ids and the batch row each belongs to."""

    token_loss_N: Tensor
    logits_NV: Tensor
    labels_N: Tensor
    rows_N: Tensor
