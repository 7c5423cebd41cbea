"""A judge on this machine: a text model folder of transformers, asked in batches, greedily unless told otherwise.

Nothing is downloaded and no code of the folder is run. torch and transformers are imported when the first question is
asked. The model is known by a fingerprint of its folder, so a fine-tuned copy of the same name gets answers of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from coinkit.errors import ConfigError, Problem, RunError
from coinkit.judges.base import (
    ANSWER_TOKENS,
    FORMAT_THRESHOLD,
    UPSTREAM_SAMPLING,
    Answer,
    Decoding,
    Judge,
    Keep,
    Parse,
    Question,
    Unanswered,
    out_of_range,
)
from coinkit.judges.prompts import SYSTEM

_BATCHES_SORTED = 32  # so many batches of questions are sorted by length together
_WEIGHTS = ('.safetensors', '.bin', '.pt', '.pth', '.gguf')
_PROBES, _PROBE_BYTES = 16, 2**16
_READ = ('*.json', '*.jinja', '*.model', '*.txt', '*.tiktoken', *(f'*{suffix}' for suffix in _WEIGHTS))


class LocalTransformers(Judge):
    """A chat model in a folder, run with transformers; `chat_template` (Jinja) where the folder has none."""

    def __init__(self, checkpoint: str, *, dtype: Literal['bfloat16', 'float16', 'float32'] = 'bfloat16',
                 device: str = 'auto', batch_size: int = 16, decoding: Decoding = 'greedy', parse: Parse = 'strict',
                 threshold: float = FORMAT_THRESHOLD, max_new_tokens: int = ANSWER_TOKENS, system: str = SYSTEM,
                 chat_template: str | None = None):
        super().__init__(parse=parse, threshold=threshold, decoding=decoding, max_new_tokens=max_new_tokens,
                         system=system)
        self.folder, self.dtype, self.device = Path(checkpoint).expanduser(), dtype, device
        self.batch_size, self.chat_template = batch_size, chat_template
        problems = [*out_of_range('judge LocalTransformers', batch_size=(batch_size, 1, 65536)), *self._folder_problems()]
        if problems:
            raise ConfigError(problems)

    def _folder_problems(self) -> list[Problem]:
        where = f'judge LocalTransformers: checkpoint {self.folder}'
        if not (self.folder / 'config.json').is_file():
            return [Problem(where, 'not a model folder of transformers (no config.json).',
                            'Give a folder with config.json, weights and tokenizer; nothing is downloaded.')]
        if not any(path.suffix in _WEIGHTS for path in self.folder.iterdir()):
            return [Problem(where, 'there are no weights in this folder.')]
        return []

    @cached_property
    def identity(self) -> dict[str, Any]:
        settings = dict(UPSTREAM_SAMPLING) if self.decoding == 'upstream' else {}
        return {'judge': 'LocalTransformers', 'model': self.folder.resolve().name,
                'revision': folder_fingerprint(self.folder),
                'settings': {'max_new_tokens': self.max_new_tokens, 'do_sample': bool(settings), 'dtype': self.dtype,
                             'chat_template': self.chat_template, **settings}}

    def ask(self, questions: Iterable[Question], keep: Keep) -> list[Unanswered]:
        unanswered: list[Unanswered] = []
        source = iter(questions)
        while window := list(islice(source, self.batch_size * _BATCHES_SORTED)):
            prompts = [(len(ids), question, ids) for question in window for ids in [self._ids(question)]]
            fitting = [prompt for prompt in prompts if prompt[0] + self.max_new_tokens <= self._longest]
            unanswered += [Unanswered(question, f'its {length} tokens are more than the model can read ({self._longest})')
                           for length, question, _ in prompts if length + self.max_new_tokens > self._longest]
            fitting.sort(key=lambda prompt: -prompt[0])  # the longest first: what does not fit into memory fails at once
            for batch in _batches(fitting, self.batch_size):
                for (_, question, _), answer in zip(batch, self._answers([ids for _, _, ids in batch]), strict=True):
                    keep(question, answer)
        return unanswered

    # --- the model -----------------------------------------------------------------------------------------------------

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True, trust_remote_code=False)
        tokenizer.padding_side = 'left'
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self.chat_template is None and not tokenizer.chat_template:
            raise ConfigError(Problem(f'judge LocalTransformers: {self.folder}', 'the tokenizer has no chat template.',
                                      'Give chat_template=, or a chat model.'))
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        device = ('cuda' if torch.cuda.is_available() else 'cpu') if self.device == 'auto' else self.device
        model = AutoModelForCausalLM.from_pretrained(str(self.folder), dtype=getattr(torch, self.dtype),
                                                     local_files_only=True, trust_remote_code=False)
        return model.to(device).eval()

    @cached_property
    def _longest(self) -> int:
        """Positions that the model has."""
        return getattr(self._model.config, 'max_position_embeddings', None) or 2**31

    @cached_property
    def _generation(self) -> Any:
        """Our own settings alone: the folder's generation_config may sample or penalise, and fills in what is not set."""
        from transformers import GenerationConfig

        sampled = self.decoding == 'upstream'
        settings = {'do_sample': sampled, **({'top_k': 0, **UPSTREAM_SAMPLING} if sampled else {})}
        ends = self._model.generation_config.eos_token_id
        self._model.generation_config = GenerationConfig()
        return GenerationConfig(max_new_tokens=self.max_new_tokens, pad_token_id=self._tokenizer.pad_token_id,
                                eos_token_id=self._tokenizer.eos_token_id if ends is None else ends, **settings)

    def _ids(self, question: Question) -> list[int]:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(question.messages, chat_template=self.chat_template, tokenize=False,
                                                       add_generation_prompt=True)
        except TemplateError as error:
            raise ConfigError(Problem('judge LocalTransformers', f'the chat template refuses the messages ({error}).',
                                      "If it knows no system message: system=''.")) from error
        text = text.encode(errors='replace').decode()  # half a surrogate pair, which no tokenizer takes, as '?'
        return self._tokenizer(text, add_special_tokens=False)['input_ids']

    def _answers(self, prompts: list[list[int]]) -> list[Answer]:
        import torch

        width, pad = max(map(len, prompts)), self._tokenizer.pad_token_id
        ids_BL = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=self._model.device)
        mask_BL = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=self._model.device)
        try:
            with torch.inference_mode():
                out_BL = self._model.generate(input_ids=ids_BL, attention_mask=mask_BL, generation_config=self._generation)
        except torch.OutOfMemoryError as error:
            raise RunError(f'judge LocalTransformers: {len(prompts)} prompts of {width} tokens do not fit into memory. '
                           f'Give a batch_size below {self.batch_size}; the answers so far are kept.') from error
        texts = self._tokenizer.batch_decode(out_BL[:, width:], skip_special_tokens=True)
        counts = (out_BL[:, width:] != pad).sum(1).tolist()
        return [Answer(text, self.folder.resolve().name, len(ids), count)
                for text, ids, count in zip(texts, prompts, counts, strict=True)]


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    yield from (items[start:start + size] for start in range(0, len(items), size))


def folder_fingerprint(folder: Path) -> str:
    """A hash of what an answer can depend on: small files whole, of weights the size and 16 probes spread over the file."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _READ for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        digest.update(f'{path.name}\0{size}\0'.encode())
        with open(path, 'rb') as file:
            if path.suffix not in _WEIGHTS or size <= _PROBES * _PROBE_BYTES:
                digest.update(file.read())
                continue
            for probe in range(_PROBES):
                file.seek(probe * (size - _PROBE_BYTES) // (_PROBES - 1))
                digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:16]
