"""Train every method on the mini stream with three seeds, and write what came out into docs/results.md.

    python tools/mini_results.py                      everything; about two hours on two cores, nothing is downloaded
    python tools/mini_results.py --only FineTune CIA  some methods
    python tools/mini_results.py --page-only          the page again, from results.json and the runs that are there

Finished runs are kept and interrupted ones continue, so the same command goes on where it was stopped. What a run came to
is also kept beside the page, in results.json: the page can be made again when the runs are gone. Texts of the page outside
its two markers are written by people and stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if find_spec('coinkit') is None:
    sys.path.insert(0, str(ROOT))

from coinkit import atomic  # noqa: E402
from coinkit.report.aggregate import Run, Stat, aggregate, find_run, run_of_matrix  # noqa: E402
from coinkit.report.analysis import Analysis, analyze  # noqa: E402
from coinkit.report.events import read_events  # noqa: E402
from coinkit.report.figures import draw  # noqa: E402
from coinkit.report.routing import Routing  # noqa: E402
from coinkit.report.tables import Table, cell_text, cost_table, matrix_table, metrics_table, routing_table  # noqa: E402
from coinkit.types import ScoreMatrix  # noqa: E402

EWC = ROOT / 'plugins' / 'coinkit-ewc'
CONFIGS = {  # in the order of the page
    'ZeroShot': 'configs/mini/zero_shot.py', 'FineTune': 'configs/mini/finetune.py', 'LwF': 'configs/mini/lwf.py',
    'MAS': 'configs/mini/mas.py', 'EWC': 'plugins/coinkit-ewc/coinkit_ewc/configs/mini_ewc.py',
    'OLoRA': 'configs/mini/olora.py', 'MoELoRA': 'configs/mini/moelora.py', 'CIA': 'configs/mini/cia.py',
    'Replay': 'configs/mini/replay.py', 'MRLoRA': 'configs/mini/mr_lora.py', 'SingleTask': 'configs/mini/single_task.py',
    'Joint': 'configs/mini/joint.py'}
BEGIN, END = '<!-- results:begin -->\n', '<!-- results:end -->\n'
PICTURES = {'comparison': 'Metrics of all methods', 'average': 'Average over the tasks seen so far, stage by stage',
            'routing-MRLoRA': "Where MR-LoRA's router sent each task's questions after the last stage"}


class Job(NamedTuple):
    method: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        events = read_events(self.folder / 'ledger.jsonl')
        return bool(events) and events[-1]['event'] == 'run_done'

    @property
    def log(self) -> Path:
        return self.folder.with_name(f'{self.folder.name}.log')

    @property
    def command(self) -> list[str]:
        plugin = ['--plugin', 'coinkit_ewc'] if self.method == 'EWC' else []
        return [sys.executable, str(ROOT / 'tools' / 'train.py'), str(ROOT / CONFIGS[self.method]), '--work-dir',
                str(self.folder), *plugin, '--cfg-options', f'seed={self.seed}',
                f'evaluation.zero_shot={self.method == "ZeroShot"}']

    def start(self) -> subprocess.Popen[bytes]:
        """One thread each: several jobs at once finish sooner than one after the other on all cores."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'ab') as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment())


def environment() -> dict[str, str]:
    """One thread; EWC's plug-in is found where it lies, installed or not."""
    paths = [str(EWC), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(paths)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/mini_results'), metavar='D')
    parser.add_argument('--only', nargs='+', choices=CONFIGS, default=[*CONFIGS], metavar='METHOD',
                        help=f'of {", ".join(CONFIGS)}')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N', help='default: 0 1 2')
    parser.add_argument('--jobs', type=int, default=max(1, (os.cpu_count() or 1)), metavar='N',
                        help='runs at a time, one thread each (default: the number of cores)')
    parser.add_argument('--page', type=Path, default=ROOT / 'docs' / 'results.md', metavar='FILE')
    parser.add_argument('--page-only', action='store_true', help='train nothing')
    args = parser.parse_args()
    jobs = [Job(method, seed, args.work_dir / method / f'seed-{seed}') for seed in args.seeds for method in args.only]
    failed = [] if args.page_only else train_all(jobs, args.jobs)
    for job in failed:
        print(f'{job.method}, seed {job.seed}: failed; {job.log} says why. The same command tries again.', file=sys.stderr)
    kept = keep(jobs, args.page.with_suffix('.json'))
    if kept:
        write_page(analyze(averaged(kept)), args.page)
        print(f'wrote {args.page}')
    return 1 if failed or not kept else 0


def train_all(jobs: Sequence[Job], at_once: int) -> list[Job]:
    """Run what is not finished; returns the jobs that failed. Ctrl-C lets every run save its state."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    waiting, failed = [job for job in jobs if not job.done], []
    running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TextColumn('runs'), TimeElapsedColumn(),
               TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task('mini stream', total=len(jobs), completed=len(jobs) - len(waiting))
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    running[job] = job.start(), time.monotonic()
                time.sleep(0.5)
                for job in [job for job, (process, _) in running.items() if process.poll() is not None]:
                    process, started = running.pop(job)
                    if process.returncode or not job.done:
                        failed.append(job)
                    minutes = (time.monotonic() - started) / 60
                    progress.console.print(f'{job.method}, seed {job.seed}: {_outcome(job)}, {minutes:.1f} min')
                    progress.advance(bar)
        finally:
            for process, _ in running.values():
                process.terminate()  # as Ctrl-C: the run saves its state
            for process, _ in running.values():
                process.wait()
    return failed


def _outcome(job: Job) -> str:
    if not job.done:
        return 'not finished'
    acc = find_run(job.folder).metrics.get('ACC')
    return f'ACC {cell_text(acc)}' if acc is not None else 'done'


# --- what the runs came to ------------------------------------------------------------------------------------------


def keep(jobs: Sequence[Job], file: Path) -> list[dict[str, Any]]:
    """The finished runs of `file` and of `jobs`, in the page's order; a job replaces what the file has of it."""
    known = json.loads(file.read_text(encoding='utf-8')) if file.exists() else []
    found = {(one['method'], one['seed']): one for one in known}
    found |= {(job.method, job.seed): _record(job) for job in jobs if job.done}
    kept = sorted(found.values(), key=lambda one: ([*CONFIGS].index(one['method']), one['seed']))
    lines = ',\n'.join(json.dumps(one, allow_nan=False) for one in kept)  # a line per run: changes can be read
    atomic.write_text(file, f'[\n{lines}\n]\n')
    return kept


def _record(job: Job) -> dict[str, Any]:
    run = find_run(job.folder)
    return {'method': job.method, 'seed': job.seed, 'matrix': run.matrix.to_json(),
            'routing': run.routing and run.routing.to_json(),
            'cost': run.cost and {name: stat.mean for name, stat in run.cost.items()}}


def averaged(kept: Sequence[Mapping[str, Any]]) -> list[Run]:
    """One run per method over its seeds."""
    members: dict[str, list[Run]] = {}
    for one in kept:
        run = run_of_matrix(f'seed-{one["seed"]}', ScoreMatrix.from_json(one['matrix']))
        cost = one['cost'] and {name: Stat(value) for name, value in one['cost'].items()}
        routing = one['routing'] and Routing.from_json(one['routing'])
        members.setdefault(one['method'], []).append(replace(run, cost=cost, routing=routing))
    return [aggregate(method, runs) for method, runs in members.items()]


# --- the page -----------------------------------------------------------------------------------------------------


def write_page(analysis: Analysis, page: Path) -> None:
    """Replace what stands between the markers of `page`; the pictures lie beside it in images/."""
    text = page.read_text(encoding='utf-8') if page.exists() else f'# Results on the mini stream\n\n{BEGIN}{END}'
    head, _, rest = text.partition(BEGIN)
    _, marker, tail = rest.partition(END)
    if not marker:
        raise SystemExit(f'{page}: the markers {BEGIN.strip()} and {END.strip()} are missing.')
    shown = []
    trained = replace(analysis, runs=tuple(run for run in analysis.runs if run.name != 'ZeroShot'))
    for drawing in draw(trained):
        if drawing.name in PICTURES:
            file = f'images/results_{drawing.name.replace("-", "_").lower()}.png'
            atomic.write_bytes(page.parent / file, drawing.files()[f'{drawing.name}.png'])
            shown.append(f'![{PICTURES[drawing.name]}]({file})\n')
    atomic.write_text(page, head + BEGIN + '\n'.join([*_tables(analysis), *shown, *_matrices(analysis.runs)]) + END + tail)


def _tables(analysis: Analysis) -> Iterator[str]:
    runs = analysis.runs
    shown = [f'{run.name} ({max(1, len(run.members))})' for run in runs]
    yield f'Runs (number of seeds): {", ".join(shown)}.\n'
    yield '## Continual metrics\n'
    yield markdown(metrics_table([run for run in runs if run.name != 'ZeroShot']))
    yield '## Scores after the last stage\n'
    yield markdown(final_table(runs))
    yield '## Cost\n'
    yield markdown(cost_table([run for run in runs if run.cost]))
    for run in runs:
        if run.routing is not None and run.name == 'MRLoRA':
            yield '## Routing accuracy of MR-LoRA\n'
            yield markdown(routing_table(run))


def final_table(runs: Sequence[Run]) -> Table:
    """The last row of every matrix, as averages over seeds; the untouched model's row for ZeroShot."""
    tables = [(run.name, matrix_table(run).rows) for run in runs if run.matrix is not None]
    return Table('final', '', 'method', (*runs[0].tasks, 'mean'),
                 tuple((name, rows[0 if name == 'ZeroShot' else -1][1]) for name, rows in tables))


def _matrices(runs: Sequence[Run]) -> Iterator[str]:
    yield '## Full matrices\n'
    for run in runs:
        if run.matrix is not None and run.name != 'ZeroShot':
            yield f'<details><summary>{run.name}</summary>\n\n{markdown(matrix_table(run))}\n</details>\n'


def markdown(table: Table) -> str:
    """A GitHub table with its notes below."""
    lines = ['| ' + ' | '.join((table.corner, *table.columns)) + ' |', '|---' * (1 + len(table.columns)) + '|']
    lines += ['| ' + ' | '.join((label, *map(cell_text, cells))) + ' |' for label, cells in table.rows]
    return '\n'.join([*lines, '', *(f'{note}  ' for note in table.notes)]) + '\n'


if __name__ == '__main__':
    sys.exit(main())
