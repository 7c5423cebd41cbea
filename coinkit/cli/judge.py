"""`coinkit judge RUN_DIR`: the reasoning-capability score from saved predictions, and why answers were wrong.

A judge model rates every answer of the run; the ratings make a second matrix beside truth alignment. The cost is told
before anything is asked. Answers are kept one by one: killed and started again, it goes on, and asks nothing twice.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coinkit.cli.judge_choice import build_judge
from coinkit.cli.judge_extract import write_and_show
from coinkit.cli.judge_runs import choose_cells, open_runs
from coinkit.cli.options import add_plugin_arguments, plugins_of
from coinkit.errors import ConfigError, Interrupted, Problem, RunError
from coinkit.judges.base import Answer, Judge, Unanswered
from coinkit.judges.cache import AnswerCache
from coinkit.judges.cells import RunCells
from coinkit.judges.extraction import extractable
from coinkit.judges.extraction import questions as extractions
from coinkit.judges.judging import Asking, Estimate, Wanted, ask, estimate, judged_cell, lenient_cell, questions
from coinkit.judges.results import cache_path, write_failures, write_judged

_REASONS = 5  # shown of the questions without an answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, metavar='RUN_DIR', help='a run directory, or one that holds seed-N or order-NAME')
    parser.add_argument('--judge', default='OpenAICompatible', metavar='NAME',
                        help='a judge (coinkit list judges), a file with judge = dict(type=...), or none: no judge, the '
                             "failures are split by the scorers' lenient forms (default: %(default)s)")
    parser.add_argument('--cfg-options', metavar='k=v', nargs='+', default=[],
                        help="the judge's arguments, e.g. base_url=http://localhost:8000/v1 model=NAME parse=upstream")
    parser.add_argument('--tasks', metavar='a,b', help='ask about these tasks only (default: all)')
    parser.add_argument('--stage', metavar='N|zero', help='ask about this stage only (default: all); 1,2 for several')
    parser.add_argument('--extract', action='store_true',
                        help='rate nothing; read short answers out of those that a scorer could not read (MathVista)')
    parser.add_argument('--dry-run', action='store_true', help='show what would be asked, its cost, a prompt; ask nothing')
    parser.add_argument('--max-cost', type=float, metavar='USD', help='do not start when the estimate is higher')
    parser.add_argument('--cache', type=Path, metavar='FILE', help='answers (default: RUN_DIR/judgements/answers.jsonl)')
    parser.add_argument('--data-root', metavar='D', help="where the data lies now, when it is not where the run found it")
    add_plugin_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Judge, write and show; 1 when questions are left without an answer."""
    plugins = plugins_of(args)
    judge = build_judge(args.judge, args.cfg_options)
    runs = open_runs(args.run, plugins=plugins, data_root=args.data_root)
    if judge is None and args.extract:
        raise ConfigError(Problem('--extract', 'there is no judge to ask (--judge none).'))
    if judge is None:
        for run in runs:
            write_failures(run, [lenient_cell(run, place) for place in run.places()])
        return _show(args.run, runs, [])
    wanted = choose_cells(runs, tasks=args.tasks, stage=args.stage)
    asking, write = questions, _write
    if args.extract:
        wanted, asking, write = extractable(wanted), extractions, write_and_show
    path = args.cache or cache_path(args.run)
    if args.dry_run:
        show_estimate(estimate(wanted, judge, AnswerCache(path), asking), example=True)
        return 0
    with AnswerCache(path) as cache:
        found = estimate(wanted, judge, cache, asking)
        show_estimate(found)
        _refuse(judge, found, args.max_cost)
        try:
            unanswered = _ask(wanted, judge, cache, found, asking)
        except (RunError, Interrupted):
            write(runs, judge, cache)  # the cells that are complete
            raise
        write(runs, judge, cache)
    return _told(unanswered) if args.extract else _show(args.run, runs, unanswered)


def _write(runs: Sequence[RunCells], judge: Judge, cache: AnswerCache) -> None:
    for run in runs:
        write_judged(run, judge, (judged_cell(run, place, judge, cache) for place in run.places()))


def _refuse(judge: Judge, found: Estimate, max_cost: float | None) -> None:
    """What forbids to start; nothing does when all answers are there."""
    if not found.total.to_ask:
        return
    problems = judge.check()
    if max_cost is not None and found.cost is None:
        problems.append(Problem('--max-cost', 'the cost is not known.', 'Give price_in= and price_out= (USD per million '
                                'tokens) with --cfg-options.'))
    elif max_cost is not None and found.cost > max_cost:
        problems.append(Problem('--max-cost', f'about {found.cost:.2f} USD expected, {max_cost:.2f} allowed.',
                                'Ask about fewer cells (--tasks, --stage), or allow more.'))
    if problems:
        raise ConfigError(problems)


def _ask(wanted: Wanted, judge: Judge, cache: AnswerCache, found: Estimate, asking: Asking) -> list[Unanswered]:
    from coinkit.engine.progress import Reporter

    total, spent = found.total, [0, 0]
    if not total.to_ask:
        return []
    done = total.questions - total.to_ask
    with Reporter().bar('judging', total.questions, unit='answers', done=done) as bar, _stopped_politely(cache):
        def answered(answer: Answer) -> None:
            spent[0] += answer.tokens_in or 0
            spent[1] += answer.tokens_out or 0
            cost = judge.cost(*spent)
            bar.advance(**({} if cost is None else {'cost': f'{cost:.2f} USD'}))

        return ask(wanted, judge, cache, answered, asking)


@contextmanager
def _stopped_politely(cache: AnswerCache) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the open requests end, keep their answers, and end with status 130."""
    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f'interrupted; {len(cache)} answers are kept in {cache.path}. The same command goes on.') from None
    finally:
        signal.signal(signal.SIGTERM, before)


def show_estimate(found: Estimate, *, example: bool = False) -> None:
    """The work by task, what it costs at most, and, to look at, the first prompt."""
    from rich.table import Table

    from coinkit.cli.screen import show

    table = Table('task', *(column for column in ('cells', 'questions', 'known', 'to ask', 'tokens in', 'tokens out ≤')))
    for column in table.columns[1:]:
        column.justify = 'right'
    for name, share in [*found.tasks.items(), ('in all', found.total)]:
        table.add_row(name, *(f'{value:,}' for value in (share.cells, share.questions, share.known, share.to_ask,
                                                         share.tokens_in, share.tokens_out)))
    show(table)
    cost = 'not known (price_in, price_out)' if found.cost is None else f'about {found.cost:.2f} USD'
    print(f'cost: {cost}' + (f'; the rate limits alone take {found.seconds:.0f} s' if found.seconds else ''))
    if example and found.example:
        print(f'\nthe first prompt:\n\n{found.example}')


def _report(folder: Path, runs: Sequence[RunCells]) -> None:
    """The tables, and every run's report with the new parts."""
    from coinkit.cli.train import show_run
    from coinkit.report.writer import write_report

    for run in runs:
        if len(runs) > 1 and (run.folder / 'matrix.json').exists():
            write_report(run.folder)
    show_run(folder)


def _show(folder: Path, runs: Sequence[RunCells], unanswered: Sequence[Unanswered]) -> int:
    """What came of it, and what is left."""
    _report(folder, runs)
    return _told(unanswered)


def _told(unanswered: Sequence[Unanswered]) -> int:
    """The exit status, and why it is 1."""
    if unanswered:
        reasons = sorted({each.reason for each in unanswered})
        print(f'{len(unanswered)} questions have no answer; their cells have no score. Run the same command again.',
              *reasons[:_REASONS], sep='\n  ', file=sys.stderr)
    return 1 if unanswered else 0
