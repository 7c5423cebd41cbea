"""Asking the model a list of questions: planned batches, this process's share of them, a bar, answers kept batch by batch.

The evaluator fills cells with it, and routing methods ask through `state.ask`. The plan depends on the questions and
the token budget alone, whatever the number of processes, so an interrupted round resumes to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coinkit.engine import generation
from coinkit.engine.partial import Answers, PartialAnswers
from coinkit.engine.questions import Questions
from coinkit.types import Sample

if TYPE_CHECKING:
    from coinkit.engine.state import RunState


def ask_share(state: RunState, samples: Sequence[Sample], positions: Sequence[int], *, max_new_tokens: int,
              done: Collection[int], write: Callable[[Answers], None], bar: Any) -> str:
    """This process's batches of the samples at `positions`; `done` ones are left out. Returns what could not be used."""
    questions = Questions(state.backbone, samples, on_bad_image=state.config.data.on_bad_image)
    requests = [questions.request(position, max_new_tokens) for position in positions]
    mine = [batch for batch in share_of_batches(state, [request.length for request in requests])
            if not all(requests[i].index in done for i in batch)]

    def on_batch(answers: Answers) -> None:
        write([(index, '' if index in questions.unusable else text) for index, text in answers])
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
