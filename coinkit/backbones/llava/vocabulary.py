"""The published 32,000 tokens, whatever a hub folder added to them.

Hub-format copies of LLaVA-1.5 have an `<image>` token, a `<pad>` token and filler rows up to 32,064. The published model
has none of these: their rows would take part in every softmax, and a question that spells `<pad>` would become a token
nobody trained. The rows are left out when the weights are read, the tokens from the tokenizer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from coinkit.backbones.text_codec import TextCodec

if TYPE_CHECKING:
    from transformers import LlavaConfig


def published_rows(config: LlavaConfig, codec: TextCodec) -> int | None:
    """How many rows the vocabulary had before the picture's token was appended; None where it was not."""
    own = max(codec.backend.get_vocab(with_added_tokens=False).values()) + 1
    return own if own <= config.image_token_id < config.text_config.vocab_size else None


def trim_config(config: LlavaConfig, rows: int, *, placeholder: int) -> None:
    """Make `config` that of the published vocabulary, with `placeholder` as transformers' picture id."""
    text = config.text_config
    text.vocab_size, config.image_token_index = rows, placeholder
    for each in (config, text):
        if (getattr(each, 'pad_token_id', None) or 0) >= rows:
            each.pad_token_id = None


def trim_codec(codec: TextCodec, rows: int) -> TextCodec:
    """The same codec without the tokens that were appended."""
    from tokenizers import Tokenizer

    content = json.loads(codec.backend.to_str())
    content['added_tokens'] = [token for token in content['added_tokens'] if token['id'] < rows]
    return replace(codec, backend=Tokenizer.from_str(json.dumps(content)))
