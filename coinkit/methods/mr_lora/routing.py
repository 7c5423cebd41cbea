"""Asking the router: every query in a batch, its answer read as a letter, and a decision where it names none.

The outcome is kept in the run directory under a hash of the weights and the questions, so that an interrupted
evaluation asks once and goes on with the same letters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coinkit import atomic
from coinkit.errors import RunError
from coinkit.methods.mr_lora.letters import parse_letter
from coinkit.nn.adapter_folder import read_card
from coinkit.types import Sample, Turn


@dataclass(frozen=True)
class Letters:
    """How an answer becomes a letter. `upstream` parsing draws at random what it cannot read, as the released code."""

    parse: str = 'strict'
    fallback: str = 'argmax'
    max_new_tokens: int = 16


@dataclass(frozen=True)
class Routed:
    """A letter per query, None for no expert, and how many answers named none."""

    letters: list[str | None]
    texts: list[str]
    unparsed: int


def ask_router(state: Any, asked: Sequence[Sample], known: Sequence[str], reading: Letters) -> Routed:
    """The letters of all queries, on every rank; the router must be in the model."""
    signature = _signature(state, asked, known, reading)
    path = state.store('MRLoRA') / 'routes' / state.stage_name / f'{signature}.json'
    if (kept := _kept(state, path)) is not None:
        return kept
    label = f'{state.stage_name}: routing'
    texts = state.ask(asked, max_new_tokens=reading.max_new_tokens, label=label, path=path, signature=signature)
    letters = [parse_letter(text, known, reading.parse) for text in texts]
    open_ones = [position for position, letter in enumerate(letters) if letter is None]
    for position, letter in zip(open_ones, _decide(state, asked, open_ones, known, reading), strict=True):
        letters[position] = letter
    routed = Routed(letters, texts, len(open_ones))
    if state.strategy.is_main:
        atomic.write_json(path, asdict(routed))
    return routed


def _kept(state: Any, path: Path) -> Routed | None:
    """What was found before; the main process looks for all."""
    found = path.exists() if state.strategy.is_main else False
    if not state.strategy.gather_json(found)[0]:
        return None
    return Routed(**json.loads(path.read_text(encoding='utf-8')))


def _signature(state: Any, asked: Sequence[Sample], known: Sequence[str], reading: Letters) -> str:
    """Equal signatures: the same router is asked the same questions in the same batches."""
    parts = {'weights': [read_card(state.run.adapter(name))['sha256'] for name in ('00-zero-shot', state.stage_name)],
             'questions': [[one.id, one.turns[0].text, [image.key for image in one.images]] for one in asked],
             'known': list(known), 'reading': asdict(reading), 'budget': state.token_budget}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _decide(state: Any, asked: Sequence[Sample], positions: Sequence[int], known: Sequence[str],
            reading: Letters) -> list[str | None]:
    """Letters for the answers that named none."""
    if not positions:
        return []
    if reading.parse == 'upstream' or reading.fallback == 'random':
        return [known[int(i)] for i in state.rng.integers(len(known), size=len(positions))]
    return [None] * len(positions) if reading.fallback == 'base' else likeliest_letters(state, asked, positions, known)


def likeliest_letters(state: Any, asked: Sequence[Sample], positions: Sequence[int], known: Sequence[str]) -> list[str]:
    """The known letter with the highest logit where the answer's letter stands: one prefill per batch."""
    prefix, ids = letter_ids(state.backbone, known)
    chosen = state.likeliest([asked[i] for i in positions], ids, after=prefix, label=f'{state.stage_name}: routes by logits')
    return [known[number] for number in chosen]


def letter_ids(backbone: Any, letters: Sequence[str]) -> tuple[list[int], list[int]]:
    """The token of each letter at the start of an answer, and the tokens between the prompt and it (a space...)."""
    turn = Turn('human', 'Which?')
    rows = [backbone.encode(Sample('letters', '', (), (turn, Turn('gpt', letter))), training=True).input_ids_L.tolist()
            for letter in letters]
    prompt = backbone.encode(Sample('letters', '', (), (turn,)), training=False).input_ids_L.tolist()
    start = next(i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1)
    ids = [row[start] for row in rows]
    if len(set(ids)) < len(ids):
        raise RunError(f"the tokenizer does not tell the letters {', '.join(letters)} apart by their first token. Choose "
                       "others with the method's alphabet, or router_fallback='base' or 'random'.")
    return rows[0][len(prompt):start] if rows[0][:len(prompt)] == prompt else [], ids
