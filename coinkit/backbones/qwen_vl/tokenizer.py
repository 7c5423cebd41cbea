"""Qwen's tokenizer from its tiktoken file: the same ids, by the `tokenizers` library.

The file lists tokens as bytes in rank order. Its byte-pair encoding merges, again and again, the neighbours whose union
has the lowest rank; a pair list that does the same is derived from the ranks: a token's pair is what its own bytes have
become when only lower ranks have merged. Text is normalised as a whole, specials written in it are parsed, and a path
between `<img>` and `</img>` becomes its bytes and padding, as published. There is no begin-of-sequence token.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coinkit.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WHERE = 'backbone.checkpoint'
FILE = 'qwen.tiktoken'
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r'|\s+(?!\S)|\s+')
SPECIALS = ('<|endoftext|>', '<|im_start|>', '<|im_end|>', *(f'<|extra_{k}|>' for k in range(205)), '<ref>', '</ref>',
            '<box>', '</box>', '<quad>', '</quad>', '<img>', '</img>', '<imgpad>')  # numbered from the last rank on
BOX_MARKS = ('<box>', '</box>')
Ranks = dict[bytes, int]


@dataclass(frozen=True)
class QwenCodec:
    """Text to ids and back; safe on threads. `image_slots` is what a path between `<img>` and `</img>` takes."""

    backend: Tokenizer
    ranks: Ranks
    image_slots: int = 256

    bos_id = None
    unk_id = None

    @property
    def eos_id(self) -> int:
        return len(self.ranks)  # <|endoftext|>, the first special, which also pads

    @property
    def vocabulary(self) -> int:
        return len(self.ranks) + len(SPECIALS)

    def special_id(self, name: str) -> int:
        """Id of a special token by its spelling."""
        return len(self.ranks) + SPECIALS.index(name)

    def encode(self, text: str) -> list[int]:
        """Ids of the text; raises DataError when a picture's path is too long or not closed."""
        ids = self.backend.encode(unicodedata.normalize('NFC', text), add_special_tokens=False).ids
        return ids if self.special_id('<img>') not in ids else list(self._with_slots(ids))

    def decode(self, ids: Sequence[int]) -> str:
        return self.text(ids).strip()

    def text(self, ids: Sequence[int], *, keep: Sequence[str] = ()) -> str:
        """The text with its outer whitespace, of special tokens only those to `keep`."""
        kept = {self.special_id(name) for name in keep}
        return self.backend.decode([one for one in ids if one < self.eos_id or one in kept], skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        lines = (f'{base64.b64encode(token).decode()} {rank}\n' for token, rank in self.ranks.items())
        (folder / FILE).write_text(''.join(lines), encoding='ascii')

    def _with_slots(self, ids: Sequence[int]) -> Iterator[int]:
        """The ids with every path as the values of its bytes, filled up with <imgpad>."""
        start, end, pad = (self.special_id(name) for name in ('<img>', '</img>', '<imgpad>'))
        place = 0
        while place < len(ids):
            yield ids[place]
            if ids[place] == start:
                if end not in ids[place:]:
                    raise DataError('a <img> is not closed by </img>.')
                close = ids.index(end, place)
                path = self._bytes(ids[place + 1:close])
                if len(path) > self.image_slots:
                    raise DataError(f'the path between <img> and </img> has {len(path)} bytes, at most '
                                    f'{self.image_slots} allowed.')
                yield from (*path, *[pad] * (self.image_slots - len(path)), end)
                place = close
            place += 1

    def _bytes(self, ids: Iterable[int]) -> bytes:
        tokens = self._tokens()
        return b''.join(tokens[one] if one < len(tokens) else SPECIALS[one - len(tokens)].encode() for one in ids)

    def _tokens(self) -> list[bytes]:
        return list(self.ranks)


def read_codec(folder: Path, *, image_slots: int = 256) -> QwenCodec:
    """The codec of a checkpoint folder's tiktoken file."""
    return make_codec(read_ranks(tokenizer_file(folder)), image_slots=image_slots)


def tokenizer_file(folder: Path) -> Path:
    """qwen.tiktoken, or the folder's only tiktoken file."""
    files = sorted(folder.glob('*.tiktoken'))
    if (folder / FILE).is_file():
        return folder / FILE
    if len(files) != 1:
        found = f"several ({', '.join(file.name for file in files)})" if files else 'none'
        raise ConfigError(Problem(WHERE, f"'{folder}' needs {FILE} or one other .tiktoken file, it has {found}."))
    return files[0]


def read_ranks(file: Path) -> Ranks:
    """Token to rank, in rank order; a line is `base64 rank`, and ranks are 0, 1, 2..."""
    ranks: Ranks = {}
    for number, line in enumerate(file.read_bytes().splitlines()):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ConfigError(Problem(f'{file}: line {number + 1}', f'is not `base64 rank` ({error}).',
                                      'Was the copy cut short?')) from error
    whole = list(ranks.values()) == list(range(len(ranks)))
    if not whole or any(bytes([value]) not in ranks for value in range(256)):
        raise ConfigError(Problem(str(file), 'its ranks must be 0, 1, 2... and hold all 256 single bytes.',
                                  'Was the copy cut short?'))
    return ranks


def make_codec(ranks: Ranks, *, image_slots: int = 256) -> QwenCodec:
    """The codec of these ranks and the published specials."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    names = byte_names()
    spelled = [''.join(map(names.__getitem__, token)) for token in ranks]
    merges = [(spelled[ranks[left]], spelled[ranks[right]]) for left, right in merge_pairs(ranks)]
    model = models.BPE(dict(zip(spelled, range(len(spelled)), strict=True)), merges, ignore_merges=True)
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIALS])
    return QwenCodec(backend, ranks, image_slots)


def merge_pairs(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """In rank order, the two tokens each longer token is merged from.

    A token that its own bytes do not lead to is no merge: it is only found as a whole word, as in tiktoken.
    """
    for token, rank in ranks.items():
        if len(token) == 2:
            yield token[:1], token[1:]
        elif len(token) > 2 and len(parts := _encoded_below(token, rank, ranks)) == 2:
            yield parts[0], parts[1]


def _encoded_below(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Byte-pair encoding of a token's bytes with ranks lower than `rank`."""
    parts = [token[place:place + 1] for place in range(len(token))]
    unions = [ranks.get(token[place:place + 2], rank) for place in range(len(token) - 1)]
    while len(parts) > 2 and (lowest := min(unions)) < rank:
        place = unions.index(lowest)
        parts[place:place + 2] = [parts[place] + parts[place + 1]]
        del unions[place]
        if place:
            unions[place - 1] = ranks.get(parts[place - 1] + parts[place], rank)
        if place < len(unions):
            unions[place] = ranks.get(parts[place] + parts[place + 1], rank)
    return parts


def byte_names() -> dict[int, str]:
    """The printable character by which byte-level vocabularies spell each byte."""
    printable = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1), *range(ord('®'), ord('ÿ') + 1)]
    hidden = [value for value in range(256) if value not in printable]
    return {value: chr(value) for value in printable} | {value: chr(256 + place) for place, value in enumerate(hidden)}
