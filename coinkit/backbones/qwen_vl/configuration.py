"""The original Qwen-VL's config.json: the language model's sizes and, under `visual`, those of its picture part.

Field names are the published ones (`intermediate_size` is the sum of the two gates' widths). Two fields of `visual`
are ours, with the published values as defaults: `n_queries`, the positions a picture takes, and `position_side`, the
side of the stored table of patch positions.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

VISUAL = {'heads': 16, 'image_size': 448, 'image_start_id': 151857, 'layers': 48, 'mlp_ratio': 4.9231, 'output_dim': 4096,
          'patch_size': 14, 'width': 1664, 'n_queries': 256, 'position_side': 16}

SIZES = ('vocab_size', 'hidden_size', 'num_hidden_layers', 'num_attention_heads', 'kv_channels', 'intermediate_size',
         'max_position_embeddings', 'seq_length')


class QwenVLConfig(PreTrainedConfig):
    """Sizes of a Qwen-VL model; the defaults are those of the 7B release."""

    model_type = 'qwen'
    keys_to_ignore_at_inference = ['past_key_values']

    vocab_size: int = 151936
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    kv_channels: int = 128
    intermediate_size: int = 22016
    max_position_embeddings: int = 8192
    seq_length: int = 2048  # longer rows get dynamic NTK and log-n attention
    rotary_emb_base: int | float = 10000
    layer_norm_epsilon: float = 1e-6
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False
    visual: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        given = dict(self.visual or {})
        self.visual = VISUAL | {'output_dim': self.hidden_size} | given
        super().__post_init__(**kwargs)
        self._check()

    def _check(self) -> None:
        for name in SIZES:
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f'config.json: {name} is {value!r}, a whole number above 0 is wanted')
        for name in ('layer_norm_epsilon', 'rotary_emb_base'):
            if not isinstance(value := getattr(self, name), int | float) or value <= 0:
                raise ValueError(f'config.json: {name} is {value!r}, a number above 0 is wanted')
        if self.kv_channels * self.num_attention_heads != self.hidden_size:
            raise ValueError(f'config.json: kv_channels {self.kv_channels} x num_attention_heads '
                             f'{self.num_attention_heads} is not hidden_size {self.hidden_size}')
        if self.visual['output_dim'] != self.hidden_size:
            raise ValueError(f"config.json: visual.output_dim {self.visual['output_dim']} is not hidden_size "
                             f'{self.hidden_size}')
        for name, value in (('n_queries', self.visual['n_queries']), ('patches', self.num_patches)):
            if int(value ** 0.5) ** 2 != value:
                raise ValueError(f'config.json: visual: {name} must be a square number, not {value}')
        if getattr(self, 'rotary_pct', 1.0) != 1.0 or not getattr(self, 'no_bias', True):
            raise ValueError('config.json: only rotary_pct 1.0 and no_bias true are implemented, as in every release')

    @property
    def num_patches(self) -> int:
        return (self.visual['image_size'] // self.visual['patch_size']) ** 2

    @property
    def head_dim(self) -> int:
        return self.kv_channels

    @property
    def num_key_value_heads(self) -> int:
        return self.num_attention_heads
