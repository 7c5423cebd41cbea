"""Tables of what `coinkit judge` found: the second matrix, its continual metrics, and why answers were wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from coinkit.report.aggregate import Run, Stat
from coinkit.report.judged import KINDS, TaskFailures, judge_name, judged_run, split_by, task_failures
from coinkit.report.tables import Table, file_name, matrix_table, metrics_table


def judge_tables(run: Run) -> Iterator[Table]:
    """The judge's matrix, its continual metrics beside those of truth alignment, and the split of failures."""
    judged, failures, name = judged_run(run), task_failures(run), file_name(run.name)
    if judged is not None:
        if judged.matrix is not None:
            by = f' (judge: {judge_name(run)})' if judge_name(run) else ''
            yield replace(matrix_table(judged), name=f'judge-{name}',
                          title=f'{run.name}: reasoning capability after each stage{by}')
        both = metrics_table([replace(run, name='truth alignment'), replace(judged, name='reasoning capability')])
        yield replace(both, name=f'judge-metrics-{name}', title=f'{run.name}: truth alignment and reasoning capability',
                      notes=())
    if failures:
        yield Table(f'failures-{name}', f'{run.name}: why answers were wrong', 'task',
                    ('learned', 'final', 'lost', *(f'of it {kind}' for kind in KINDS), 'format share %'),
                    tuple((task, _cells(each)) for task, each in failures.items()), (failure_note(run),))


def _cells(failures: TaskFailures) -> tuple[Stat, ...]:
    drop = failures.drop
    lost = None if drop is None else sum(drop.values())
    share = 100 * drop['format'] / lost if lost is not None and lost > 1e-9 else None
    return (Stat(failures.learned and failures.learned.right), Stat(failures.final.right), Stat(lost),
            *(Stat(drop and drop[kind]) for kind in KINDS), Stat(share))


def failure_note(run: Run) -> str:
    """How format was told from knowledge."""
    how = ('the judge gives a wrong answer its threshold or more' if split_by(run) == 'judge' else
           "a wrong answer is right under the scorer's lenient form (no judge)")
    return f'format: {how}; knowledge: the other wrong answers. Percent points.'
