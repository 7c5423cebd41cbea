"""Sizes and prompt rules of MiniGPT-v2; a config without any of them is the published full-size model.

Two layouts are read: what `save_pretrained` writes ('text_config'), and one that keeps the language model under 'llm'.
Lists that describe a checkpoint's files ('state_dict_keys', 'trainable') say nothing about the model and are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import LlamaConfig, PreTrainedConfig

VIT = {'patch_size': 14, 'embed_dim': 1408, 'depth': 39, 'num_heads': 16, 'mlp_ratio': 4.3637, 'qkv_bias': True}
IMAGE_SIDE = 448
LLAMA = {'vocab_size': 32000, 'hidden_size': 4096, 'intermediate_size': 11008, 'num_hidden_layers': 32,
         'num_attention_heads': 32, 'num_key_value_heads': 32, 'max_position_embeddings': 4096, 'rms_norm_eps': 1e-5,
         'bos_token_id': 1, 'eos_token_id': 2}
LORA = {'r': 64, 'alpha': 16, 'dropout': 0.05, 'target_modules': ['q_proj', 'v_proj']}
TYPES = {'max_txt_len': int, 'max_context_len': int, 'end_sym': str, 'prompt_template': str, 'chat_template': bool,
         'pad_token': str, 'img_size': int, 'merged_tokens': int}
NOT_THE_MODEL = ('state_dict_keys', 'trainable', 'tokenizer')


class MiniGPTv2Config(PreTrainedConfig):
    """`vit`, `llm` and `lora` replace single sizes of the full model; `merged_tokens` neighbours become one token.

    `lora` describes the adapters of a checkpoint in MiniGPT-v2's own format; the model itself holds none.
    """

    model_type = 'minigpt_v2'
    sub_configs = {'text_config': LlamaConfig}
    has_no_defaults_at_init = False

    def __init__(self, vit: Mapping[str, Any] | None = None, llm: Mapping[str, Any] | None = None,
                 text_config: Mapping[str, Any] | LlamaConfig | None = None, lora: Mapping[str, Any] | None = None,
                 img_size: int | None = None, merged_tokens: int = 4, vit_norm_eps: float = 1e-6,
                 ln_vision_eps: float = 1e-5, max_txt_len: int = 2048, max_context_len: int = 3800,
                 end_sym: str = '</s>', prompt_template: str = '[INST] {} [/INST]', chat_template: bool = True,
                 pad_token: str = '$$', **kwargs: Any):
        self.vit = {**VIT, **(vit or {})}
        self.img_size = img_size or self.vit.get('img_size', IMAGE_SIDE)
        self.vit['img_size'] = self.img_size
        self.lora = {**LORA, **(lora or {})}
        self.text_config = _llama(text_config if llm is None else llm)
        self.merged_tokens, self.vit_norm_eps, self.ln_vision_eps = merged_tokens, vit_norm_eps, ln_vision_eps
        self.max_txt_len, self.max_context_len, self.end_sym = max_txt_len, max_context_len, end_sym
        self.prompt_template, self.chat_template, self.pad_token = prompt_template, chat_template, pad_token
        for name, kind in TYPES.items():
            if type(value := getattr(self, name)) is not kind:
                raise TypeError(f'{name} is {value!r}, expected {kind.__name__}')
        kwargs.setdefault('tie_word_embeddings', self.text_config.tie_word_embeddings)
        super().__init__(**{key: value for key, value in kwargs.items() if key not in NOT_THE_MODEL})

    @property
    def patches_per_side(self) -> int:
        return self.img_size // self.vit['patch_size']

    @property
    def tokens_per_image(self) -> int:
        """Positions of one picture in the language model."""
        return self.patches_per_side ** 2 // self.merged_tokens


def _llama(sizes: Mapping[str, Any] | LlamaConfig | None) -> LlamaConfig:
    if isinstance(sizes, LlamaConfig):
        return sizes
    sizes = dict(sizes or {})
    if 'num_attention_heads' in sizes:  # configs from before grouped heads say nothing of them
        sizes.setdefault('num_key_value_heads', sizes['num_attention_heads'])
    return LlamaConfig(**{**LLAMA, **sizes})
