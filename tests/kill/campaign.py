"""The long kill campaign: a real run, killed again and again with SIGKILL, must end in the bytes of a run left alone.

    python tests/kill/campaign.py --kills 40
    python tests/kill/campaign.py --kills 200 --cases FineTune,phases --jobs 4

One run of each case is left alone and lists its points (every step, fsync, rename, ledger line, batch of answers...).
Then, for points spread over all parts of the run, the real command runs in a process that kills itself at exactly that
point; every third run is killed once more while it resumes; every fifth is the plain command killed from outside after a
random time. The same command is started until it ends, and adapters, method state, predictions and matrix are compared.
Exit status 1 when anything differs. A kill costs 10 to 30 s on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from coinkit.testing.faults import Point, spread  # noqa: E402
from coinkit.testing.small_runs import TRAINS_ALL, differing, digest, options  # noqa: E402

LORA = dict(rank=4, alpha=8, dropout=0.05)
STATEFUL = f'plugins={json.dumps([str(HERE / "stateful.py")])}'
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    'FineTune': ('mini/finetune', TRAINS_ALL), 'MoELoRA': ('mini/moelora', TRAINS_ALL),
    'SingleTask': ('mini/single_task', TRAINS_ALL), 'Joint': ('mini/joint', TRAINS_ALL),
    'phases': ('mini/finetune', (STATEFUL, f"methods={[dict(type='ThreePhases', **LORA), dict(type='Averaged')]!r}")),
}
TASKS = ('TextVQA', 'GQA', 'VQAv2')
MORE_STEPS = ('schedule.steps=5', 'evaluation.limit=6', 'evaluation.token_budget=300', 'data.workers=2')
MOST_STARTS = 6
TIMEOUT_S = 900


@dataclass
class Outcome:
    """One run that was killed."""

    case: str
    where: str
    what: str
    kills: int = 0
    starts: int = 0
    differs: list[str] = field(default_factory=list)
    error: str = ''

    @property
    def equal(self) -> bool:
        return not self.differs and not self.error


class Campaign:
    """Runs of one case under a folder, and what they must end in."""

    def __init__(self, case: str, folder: Path):
        self.case, self.folder = case, folder
        self.expected: dict[str, str] = {}
        self.points: list[Point] = []
        self.seconds = 0.0

    def command(self, run: Path, *wrapper: str) -> list[str]:
        config, more = CASES[self.case]
        program = [str(HERE / 'killed_command.py'), *wrapper, '--'] if wrapper else ['-m', 'coinkit']
        return [sys.executable, *program, 'train', config, '--work-dir', str(run), '--cfg-options',
                *options(*more, *MORE_STEPS, tasks=TASKS)]

    def start(self, run: Path, *wrapper: str, kill_after: float | None = None) -> tuple[int, str]:
        """Exit status (negative: the signal) and the end of what was printed."""
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
        process = subprocess.Popen(self.command(run, *wrapper), env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        try:
            text, _ = process.communicate(timeout=kill_after or TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            text, _ = process.communicate()
        return process.returncode, text[-1500:]

    def leave_alone(self) -> None:
        """The uninterrupted run, which lists its points."""
        listed, run = self.folder / 'points.json', self.folder / 'uninterrupted'
        started = time.monotonic()
        status, text = self.start(run, '--list', str(listed))
        if status:
            raise SystemExit(f'{self.case}: the run without a kill failed with status {status}:\n{text}')
        self.seconds = time.monotonic() - started
        self.expected = digest(run)
        self.points = [Point(**point) for point in json.loads(listed.read_text())]

    def kill_at(self, point: Point, *, again: int | None) -> Outcome:
        """Die at a point; with `again`, die once more at that point of the resumed run."""
        outcome = Outcome(self.case, point.where, point.what)
        first = lambda run: self.start(run, '--at', str(point.number))  # noqa: E731
        second = lambda run: self.start(run, '--at', str(again))  # noqa: E731
        if again:
            outcome.what += f', then point {again}'
        return self._until_done(outcome, f'point-{point.number}-{again}', [first, second] if again else [first])

    def kill_after(self, seconds: float) -> Outcome:
        """Die at any moment of the plain command."""
        outcome = Outcome(self.case, 'any', f'from outside after {seconds:.2f} s')
        return self._until_done(outcome, f'after-{seconds:.4f}', [lambda run: self.start(run, kill_after=seconds)])

    def _until_done(self, outcome: Outcome, name: str, attempts: list) -> Outcome:
        run = self.folder / name
        status, text = -1, ''
        while status == -signal.SIGKILL or outcome.starts == 0:
            attempt = attempts.pop(0) if attempts else self.start
            status, text = attempt(run)
            outcome.starts += 1
            outcome.kills += status == -signal.SIGKILL
            if outcome.starts > MOST_STARTS:
                break
        if status:
            outcome.error = f'ended with status {status}: {text}'
        outcome.differs = differing(self.expected, digest(run))
        left = [str(path.relative_to(run)) for path in run.rglob('.*') if path.name != '.lock']
        outcome.differs += [f'left over: {name}' for name in left]
        if outcome.equal:
            shutil.rmtree(run)
        return outcome


def plan(campaigns: list[Campaign], kills: int, seed: int) -> list:
    """Jobs: kills at points spread over each case's run, double kills, kills from outside."""
    rng, jobs = random.Random(seed), []
    for number, campaign in enumerate(campaigns):
        share = kills // len(campaigns) + (number < kills % len(campaigns))
        outside = share // 5
        for place, point in enumerate(spread(campaign.points, share - outside, seed=seed)):
            again = rng.randrange(1, max(2, len(campaign.points) - point.number + 30)) if place % 3 == 2 else None
            jobs.append(lambda campaign=campaign, point=point, again=again: campaign.kill_at(point, again=again))
        for _ in range(outside):
            after = rng.uniform(0.05, 1.0) * campaign.seconds
            jobs.append(lambda campaign=campaign, after=after: campaign.kill_after(after))
    return jobs


def show(outcomes: list[Outcome], campaigns: list[Campaign], console: Console) -> None:
    table = Table('case', 'part of the run', 'killed at', 'kills', 'starts', 'end', title='Kill campaign')
    for one in sorted(outcomes, key=lambda one: (one.case, one.where, one.what)):
        end = 'equal' if one.equal else one.error or ', '.join(one.differs)
        table.add_row(one.case, one.where, one.what, str(one.kills), str(one.starts), end,
                      style=None if one.equal else 'red')
    console.print(table)
    same, kills = sum(one.equal for one in outcomes), sum(one.kills for one in outcomes)
    listed = ', '.join(f'{campaign.case} {len(campaign.points)}' for campaign in campaigns)
    console.print(f'points: {listed}\n{len(outcomes)} killed runs, {kills} kills, {same} of {len(outcomes)} end in the '
                  'bytes of the run that was left alone.')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--kills', type=int, default=40, help='runs to kill')
    parser.add_argument('--cases', default=','.join(CASES), help='which of: ' + ', '.join(CASES))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, one core each')
    parser.add_argument('--keep', type=Path, help='folder for the runs, those that differ stay there; one in '
                        'memory, such as /dev/shm/kills, is faster: a run waits for the disk several hundred times')
    args = parser.parse_args()
    unknown = [name for name in args.cases.split(',') if name not in CASES]
    if unknown:
        parser.error(f'--cases: unknown case {unknown[0]!r}; allowed: {", ".join(CASES)}')
    console, folder = Console(), args.keep or Path(tempfile.mkdtemp(prefix='kill-campaign-'))
    campaigns = [Campaign(case, folder / case) for case in args.cases.split(',')]
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn('eta'),
               TimeRemainingColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(args.jobs) as pool:
        bar = progress.add_task('runs left alone', total=len(campaigns))
        for campaign in campaigns:
            campaign.folder.mkdir(parents=True, exist_ok=True)
            campaign.leave_alone()
            progress.advance(bar)
        jobs = plan(campaigns, args.kills, args.seed)
        bar = progress.add_task('killed runs', total=len(jobs))
        for done in as_completed([pool.submit(job) for job in jobs]):
            outcomes.append(done.result())
            progress.advance(bar)
            if not console.is_terminal or not outcomes[-1].equal:
                one = outcomes[-1]
                console.print(f'{len(outcomes)}/{len(jobs)} {one.case}, {one.where}, {one.what}: '
                              f'{"equal" if one.equal else one.error or one.differs}', markup=False, soft_wrap=True)
    show(outcomes, campaigns, console)
    failed = not all(one.equal for one in outcomes)
    if not failed and not args.keep:
        shutil.rmtree(folder)
    elif failed:
        console.print(f'The runs that differ are in {folder}.')
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
