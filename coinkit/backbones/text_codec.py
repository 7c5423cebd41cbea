"""Text to ids and back, the same on every thread.

Uses the Rust tokenizer directly: transformers' wrapper sets padding and truncation on the shared object at every call,
which fails under threads. Llama vocabularies are rebuilt with the `legacy` behaviour their checkpoint was trained with;
a missing field meant True in the libraries of the time and means False today.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.backbones.weights import read_json
from coinkit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)
SPECIAL = {'bos': '<s>', 'eos': '</s>', 'unk': '<unk>'}
LLAMA_CLASSES = ('LlamaTokenizer', 'LlamaTokenizerFast')
JSON_FILES = ('tokenizer_config.json', 'tokenizer.json', 'special_tokens_map.json', 'added_tokens.json')


@dataclass(frozen=True)
class TextCodec:
    """A tokenizer that adds nothing of itself. Special tokens written in the text are parsed."""

    backend: Tokenizer
    bos_id: int
    eos_id: int
    unk_id: int
    legacy: bool = False
    sentencepiece: bool = False

    def encode(self, text: str) -> list[int]:
        # SentencePiece gives text that starts with a space one more piece than the rebuilt tokenizer
        spaced = f' {text}' if self.sentencepiece and text.startswith(' ') else text
        return self.backend.encode(spaced, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=True).strip()

    def save(self, folder: Path) -> None:
        """Write the files from which `read_codec` builds an equal codec."""
        self.backend.save(str(folder / 'tokenizer.json'))
        names = {f'{key}_token': self.backend.id_to_token(getattr(self, f'{key}_id')) for key in SPECIAL}
        kind = 'LlamaTokenizer' if self.sentencepiece else 'PreTrainedTokenizerFast'
        config = {'tokenizer_class': kind, 'add_bos_token': True, 'legacy': self.legacy, **names}
        (folder / 'tokenizer_config.json').write_text(json.dumps(config, indent=1) + '\n', encoding='utf-8')


def read_codec(folder: Path, *, legacy: bool | None = None) -> TextCodec:
    """The codec of a checkpoint folder. `legacy=None` takes the folder's own word."""
    config = read_json(folder / 'tokenizer_config.json')
    if config.get('tokenizer_class') in LLAMA_CLASSES or not (folder / 'tokenizer.json').is_file():
        return _llama_codec(folder, _legacy(config, legacy, folder))
    from tokenizers import Tokenizer
    with _readable(folder):
        backend = Tokenizer.from_file(str(folder / 'tokenizer.json'))
    ids = {key: backend.token_to_id(_token_text(config, key, default)) for key, default in SPECIAL.items()}
    return _plain(TextCodec(backend, ids['bos'], ids['eos'], ids['unk']))


def _llama_codec(folder: Path, legacy: bool) -> TextCodec:
    from transformers import LlamaTokenizer
    with _readable(folder):
        tokenizer = LlamaTokenizer.from_pretrained(str(folder), add_bos_token=True, legacy=legacy)
    return _plain(TextCodec(tokenizer.backend_tokenizer, tokenizer.bos_token_id, tokenizer.eos_token_id,
                            tokenizer.unk_token_id, legacy=legacy, sentencepiece=True))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """A damaged file is a ConfigError that names it."""
    file = next((folder / name for name in ('tokenizer.json', 'tokenizer.model') if (folder / name).is_file()), folder)
    if file.name == 'tokenizer.model' and (damage := _damage(file.read_bytes())):
        raise ConfigError(Problem(str(file), damage, 'Copy it again.'))
    try:
        yield
    except Exception as error:  # the tokenizer libraries raise errors of any kind, and blame packages that are there
        for name in JSON_FILES:
            read_json(folder / name)
        what = f'is no tokenizer ({type(error).__name__}: {error}).' if file.suffix == '.json' else 'is no tokenizer.'
        raise ConfigError(Problem(str(file), what, 'Copy it again.')) from error


def _damage(content: bytes) -> str:
    """What is wrong with a SentencePiece model, as far as its outline tells; '' where nothing is.

    It is a list of pieces (tag 10, length, content) with the trainer's settings behind them. One that is cut between two
    pieces would be read, and would write words in other pieces.
    """
    if content.startswith(b'version https://git-lfs'):
        return 'is a Git LFS pointer, not the tokenizer itself.'
    place = 0
    while place + 1 < len(content) and content[place] == 10:
        length, shift, place = 0, 0, place + 1
        while place < len(content):
            length, shift, place = length | (content[place] & 127) << shift, shift + 7, place + 1
            if content[place - 1] < 128:
                break
        place += length
    return '' if 0 < place < len(content) else 'is cut short, or no tokenizer.'


def _plain(codec: TextCodec) -> TextCodec:
    codec.backend.no_padding()
    codec.backend.no_truncation()
    return codec


def _legacy(config: Mapping[str, Any], given: bool | None, folder: Path) -> bool:
    if given is not None:
        return given
    if config.get('legacy') is None:
        logger.warning("%s names no 'legacy': read as true, as when such folders were made; backbone.legacy chooses.",
                       folder / 'tokenizer_config.json')
        return True
    return bool(config['legacy'])


def _token_text(config: Mapping[str, Any], key: str, default: str) -> str:
    entry = config.get(f'{key}_token') or default
    return entry['content'] if isinstance(entry, Mapping) else entry
