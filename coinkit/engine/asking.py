"""Asking the model a list of questions: planned batches, this process's share of them, a bar, answers kept batch by batch.

The evaluator fills cells with it, and routing methods ask through `state.ask`. The plan depends on the questions and
the token budget alone, whatever the number of processes, so an interrupted round resumes to the same bytes.
Shape suffixes: B rows, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coinkit.data.batch import IGNORE, Encoded
from coinkit.engine import generation
from coinkit.engine.partial import Answers, PartialAnswers, Write
from coinkit.engine.questions import Questions
from coinkit.types import Sample

if TYPE_CHECKING:
    from coinkit.engine.state import RunState


def ask_share(state: RunState, samples: Sequence[Sample], positions: Sequence[int], *, max_new_tokens: int,
              done: Collection[int], write: Write, bar: Any) -> str:
    """This process's batches of the samples at `positions`; `done` ones are left out. Returns what could not be used."""
    questions = Questions(state.backbone, samples, on_bad_image=state.config.data.on_bad_image)
    requests = [questions.request(position, max_new_tokens) for position in positions]
    mine = [batch for batch in share_of_batches(state, [request.length for request in requests])
            if not all(requests[i].index in done for i in batch)]

    def on_batch(answers: Answers) -> None:
        bad = {index: questions.bad_images[index] for index, _ in answers if index in questions.bad_images}
        write([(index, '' if bad.get(index) == 'skip' else text) for index, text in answers], bad)
        bar.advance(len(answers) * state.strategy.world_size)
        state.interrupt.check(f'the answers so far are in {state.run.path}')

    with state.bank.fixed() if state.bank is not None else nullcontext():  # weights are cast and joined once
        generation.generate(state.backbone, requests, plan=mine, on_batch=on_batch, workers=state.config.data.workers)
    return questions.complaint()


def share_of_batches(state: RunState, lengths: Sequence[int]) -> list[list[int]]:
    """Every world-size-th batch of the plan, beginning at this process's rank."""
    plan = generation.plan_batches(lengths, token_budget=state.token_budget)
    return plan[state.strategy.rank::state.strategy.world_size]


def ask(state: RunState, samples: Sequence[Sample], *, max_new_tokens: int, label: str, path: Path,
        signature: str) -> list[str]:
    """Every process gets every answer, in order. Finished batches lie in hidden files beside `path`."""
    partial = PartialAnswers(path, signature)
    done = partial.read()
    state.strategy.barrier()  # every process has read before any writes
    with partial.writer(state.strategy.rank) as write, \
            state.reporter.bar(label, len(samples), unit='questions', done=len(done)) as bar:
        complaint = ask_share(state, samples, range(len(samples)), max_new_tokens=max_new_tokens, done=done,
                              write=write, bar=bar)
    if complaint:
        state.reporter.say(f'{label}: {complaint}')
    state.strategy.barrier()
    found = partial.read()
    state.strategy.barrier()  # every process has read before the main one removes
    partial.remove(only_on=state.strategy.is_main)
    return [found[position] for position in range(len(samples))]


def likeliest(state: RunState, samples: Sequence[Sample], ids: Sequence[int], *, after: Sequence[int],
              label: str) -> list[int]:
    """Which of `ids` has the highest logit behind each prompt and the tokens `after`; one prefill a batch."""
    questions = Questions(state.backbone, samples, on_bad_image=state.config.data.on_bad_image)
    requests = [questions.request(position, 1) for position in range(len(samples))]
    mine = share_of_batches(state, [request.length + len(after) for request in requests])
    best: list[tuple[int, int]] = []
    fixed = state.bank.fixed() if state.bank is not None else nullcontext()
    with state.reporter.bar(label, len(samples), unit='questions') as bar, generation.evaluating(state.backbone), fixed:
        for batch in mine:
            rows = state.backbone.collate([_extended(requests[i].encode(), after) for i in batch], padding_side='left')
            logits_BV, _ = state.backbone.prefill(rows)
            best += zip(batch, logits_BV[:, list(ids)].argmax(-1).tolist(), strict=True)
            bar.advance(len(batch) * state.strategy.world_size)
            state.interrupt.check(f'the finished answers are in {state.run.path}')
    found = dict(pair for share in state.strategy.gather_json(best) for pair in share)
    return [found[position] for position in range(len(samples))]


def _extended(encoded: Encoded, after: Sequence[int]) -> Encoded:
    more = torch.tensor(after, dtype=encoded.input_ids_L.dtype)
    return replace(encoded, input_ids_L=torch.cat([encoded.input_ids_L, more]),
                   labels_L=torch.cat([encoded.labels_L, torch.full_like(more, IGNORE)]))
