"""How much memory a backbone takes, estimated from its sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES_PER_TRAINED = 16  # fp32 weight, gradient and two moments


@dataclass(frozen=True)
class DecoderSizes:
    """What the estimates need to know of a language model; `kv_width` is key heads times head size."""

    layers: int
    hidden: int
    intermediate: int
    kv_width: int

    @classmethod
    def of(cls, config: Any) -> DecoderSizes:
        """From a transformers text config with the usual names."""
        head = getattr(config, 'head_dim', None) or config.hidden_size // config.num_attention_heads
        kv_heads = getattr(config, 'num_key_value_heads', None) or config.num_attention_heads
        inner = getattr(config, 'intermediate_size', None) or config.ffn_dim  # OPT's name
        return cls(config.num_hidden_layers, config.hidden_size, inner, kv_heads * head)

    def kv_values_per_token(self) -> int:
        """Keys and values of one token over all layers."""
        return 2 * self.layers * self.kv_width


def estimate_bytes(sizes: DecoderSizes, *, weights: int, training: bool, dtype_bytes: int, micro_batch_size: int,
                   max_length: int, trained_parameters: int, gradient_checkpointing: bool) -> dict[str, int]:
    """Estimated bytes by purpose and in total. Activations are an upper guess for full-length rows."""
    tokens, parts = micro_batch_size * max_length, {'weights': weights}
    if training:
        one_layer = tokens * (14 * sizes.hidden + 4 * sizes.intermediate) * dtype_bytes
        kept = tokens * sizes.hidden * dtype_bytes * sizes.layers
        parts['optimizer'] = BYTES_PER_TRAINED * trained_parameters
        parts['activations'] = kept + one_layer if gradient_checkpointing else one_layer * sizes.layers
    else:
        parts['kv_cache'] = tokens * sizes.kv_values_per_token() * dtype_bytes
    return {**parts, 'total': sum(parts.values())}
