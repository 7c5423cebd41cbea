"""What LwF's teacher says about every row of a phase, asked once and kept in the run directory: its K largest entries.

The file is written before the first step, so a resumed phase reads it instead of asking again. Every process asks about its
share of the rows and all of them get everything. Shape suffixes: N labelled positions, M those of all rows, K entries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from coinkit import atomic
from coinkit.data.sampling import Mix
from coinkit.errors import Problem, RunError
from coinkit.nn.losses import TopK, top_k

BATCH_SIZE = 8
CHUNK = 2**16  # positions that ranks exchange at once


class TeacherCache:
    """The teacher's largest log-probabilities by sample id."""

    def __init__(self, rows: list[tuple[str, int]], kept: TopK):
        self.kept = kept  # (M, K), on the CPU
        self.spans: dict[str, tuple[int, int]] = {}
        end = 0
        for sample_id, count in rows:
            if sample_id in self.spans:
                raise RunError(f"LwF: two rows of this phase have the id '{sample_id}', by which the teacher's answers are "
                               "kept. Use lwf_teacher='live'.")
            self.spans[sample_id] = (end, end + count)
            end += count

    @classmethod
    def of(cls, state: Any, mix: Mix, *, k: int, temperature: float) -> TeacherCache:
        """The cache of this phase: read where it was written before, else made; the model must be the teacher."""
        path = _folder(state) / f'{state.stage_name}-{state.phase.name}-{mix.fingerprint}-{k}-{temperature}'
        if not state.strategy.gather_json(path.exists())[0]:
            rows, kept = _asked(state, mix, k, temperature)
            if state.strategy.is_main:
                with atomic.folder(path) as folder:
                    (folder / 'rows.json').write_text(json.dumps(rows))
                    save_file({'log_p': kept.log_p_NK, 'ids': kept.ids_NK}, folder / 'top_k.safetensors')
            state.strategy.barrier()
        rows, tensors = json.loads((path / 'rows.json').read_text()), load_file(path / 'top_k.safetensors')
        return cls(rows, TopK(tensors['log_p'], tensors['ids']))

    @staticmethod
    def remove(state: Any) -> None:
        """The task is finished: nobody will ask again."""
        if state.strategy.is_main:
            for path in _folder(state).glob(f'{state.stage_name}-*'):
                atomic.remove(path)

    def read(self, batch: Any, output: Any) -> TopK:
        """The teacher's entries at the labelled positions of a batch, in their order."""
        count = output.labels_N.numel()
        spans = [self._span(sample_id) for sample_id in batch.ids] if count else []  # a batch may be supervised nowhere
        at_N = torch.cat([torch.arange(start, end) for start, end in spans]) if spans else torch.empty(0, dtype=torch.long)
        if len(at_N) != count:
            raise RunError(f'LwF: the rows {batch.ids} have {count} supervised tokens, and the teacher was asked about '
                           f'{len(at_N)}. Start anew with --fresh.')
        device = output.logits_NV.device
        return TopK(*(kept[at_N].to(device, non_blocking=True) for kept in self.kept))

    def _span(self, sample_id: str) -> tuple[int, int]:
        if sample_id not in self.spans:
            raise RunError(f"LwF: the teacher was not asked about row '{sample_id}', which was added behind it. Use "
                           "lwf_teacher='live'.")
        return self.spans[sample_id]


def _folder(state: Any) -> Path:
    return state.store('LwF')


def _asked(state: Any, mix: Mix, k: int, temperature: float) -> tuple[list[tuple[str, int]], TopK]:
    """(id, supervised tokens) of every row, and the entries of them all, one below the other; equal on every rank."""
    rows, found = [], []
    once = Mix(*{id(part): part for part in mix.datasets}.values())  # a part may be shown several times
    for batch, output in state.each_batch(once, batch_size=BATCH_SIZE, label='LwF: asking the teacher'):
        largest = top_k(output.logits_NV, min(k, output.logits_NV.shape[-1] - 1), temperature)
        counts = output.rows_N.bincount(minlength=len(batch)).tolist()
        rows += zip(batch.ids, counts, strict=True)
        found.append(TopK(largest.log_p_NK.cpu(), largest.ids_NK.int().cpu()))
    mine = TopK(*(torch.cat(parts) for parts in zip(*found, strict=True))) if found else None
    return _exchanged(state.strategy, rows, mine, k)


def _exchanged(strategy: Any, rows: list[tuple[str, int]], mine: TopK | None, k: int) -> tuple[list[Any], TopK]:
    """Everybody's rows in the order of the ranks; sums in which one rank gives a value and the others zero."""
    by_rank = strategy.gather_json(rows)
    width = max(strategy.gather_json(k if mine is None else mine.log_p_NK.shape[1]))
    ends = torch.tensor([sum(count for _, count in each) for each in by_rank]).cumsum(0).tolist()
    start, stop = ([0, *ends][strategy.rank], ends[strategy.rank])
    whole = TopK(torch.zeros(ends[-1], width), torch.zeros(ends[-1], width, dtype=torch.int32))
    if mine is not None:
        for kept, own in zip(whole, mine, strict=True):
            kept[start:stop] = own
    for kept in whole if strategy.world_size > 1 else ():
        for part in kept.split(CHUNK):
            part.copy_(strategy.all_reduce_sum(part.to(strategy.device)))
    return [row for each in by_rank for row in each], whole


def id_problems(datasets: Any, *, together: bool) -> list[Problem]:
    """Rows of one id, in a task's training set or, where rows of several tasks come `together`, in any two of them."""
    stream, owner = datasets.stream, {}
    for index, task in enumerate(stream):
        if not together:
            owner = {}  # only the task's own rows are in its phase
        rows = datasets.train(index) if together or index else ()  # the first task has no teacher
        for position in range(len(rows)):
            sample_id = rows[position].id
            if sample_id in owner:
                sets = ' and '.join(dict.fromkeys((owner[sample_id], task.name)))
                return [Problem('LwF: lwf_teacher', f"two training rows of {sets} have the id '{sample_id}', by which the "
                                "cached teacher's answers are kept.", "Use lwf_teacher='live'.")]
            owner[sample_id] = task.name
    return []
