"""The run directory: where each file of a run lives (a contract, see docs/architecture.md) and who may use it.

One process group at a time: an advisory lock is held while a run is going. A folder that is not empty and has no ledger
is somebody else's and is refused.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from coinkit import atomic
from coinkit.engine.ledger import Ledger
from coinkit.errors import ConfigError, Problem, RunError, unknown
from coinkit.types import Task

LOCK = '.lock'
FOLDERS = ('stages', 'methods', 'predictions')
REFUSED = 'run_refused'  # the ledger's last line while what a refused start began is being removed


class RunDir:
    """Paths of one run. Stage 0 is the zero-shot stage, stage i >= 1 the one after task i."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: int | None = None
        self._made: list[Path] = []  # folders that this process made to lock the directory, the inner ones first

    config = property(lambda self: self.path / 'config.py')
    environment = property(lambda self: self.path / 'environment.json')
    ledger = property(lambda self: self.path / 'ledger.jsonl')
    matrix = property(lambda self: self.path / 'matrix.json')
    log = property(lambda self: self.path / 'log.jsonl')
    tensorboard = property(lambda self: self.path / 'tb')

    @staticmethod
    def stage_name(stage: int, tasks: Sequence[Task]) -> str:
        return '00-zero-shot' if stage == 0 else f'{stage:02d}-{tasks[stage - 1].slug}'

    def stage(self, name: str) -> Path:
        return self.path / 'stages' / name

    def adapter(self, name: str) -> Path:
        return self.stage(name) / 'adapter'

    def methods(self, name: str) -> Path:
        return self.stage(name) / 'methods'

    def checkpoints(self, name: str) -> Path:
        return self.stage(name) / 'checkpoint'

    def predictions(self, stage_name: str, task: Task) -> Path:
        return self.path / 'predictions' / stage_name / f'{task.slug}.jsonl'

    def is_foreign(self) -> bool:
        """Files and no ledger. A process killed before its first ledger line leaves a lock and nothing else."""
        entries = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        return not self.ledger.exists() and bool(entries - {LOCK})

    def has_begun(self) -> bool:
        """Whether theta_0 is stored: from here on a run needs nothing that it was started from."""
        done = self.ledger.exists() and self.open_ledger(writable=False).last('stage_done') is not None
        return done and not self.was_refused()

    def was_refused(self) -> bool:
        """Whether the start that began here was refused, and killed before everything of it was removed."""
        events = self.open_ledger(writable=False).events if self.ledger.exists() else []
        return bool(events) and events[-1]['event'] == REFUSED

    def undo(self) -> None:
        """Remove what a start wrote, the ledger last, and the folders it made. The caller has the lock and began the run."""
        own = (self.config, self.environment, self.matrix, self.log, self.tensorboard, *map(self.path.joinpath, FOLDERS))
        for path in (*own, self.ledger):
            atomic.remove(path)
        if self._made:
            (self.path / LOCK).unlink(missing_ok=True)
        for folder in self._made:
            if any(folder.iterdir()):
                break  # of other runs, or somebody's
            folder.rmdir()

    def check_usable(self) -> list[Problem]:
        """A foreign or unwritable directory, as problems."""
        where = str(self.path)
        if self.path.exists() and not self.path.is_dir():
            return [Problem(where, 'the work directory is a file.', 'Choose another with --work-dir.')]
        if self.is_foreign():
            return [Problem(where, 'the directory is not empty and holds no coinkit run (no ledger.jsonl).',
                            'Choose another with --work-dir.')]
        parent = next(p for p in (self.path, *self.path.resolve().parents) if p.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            why = f'no permission in {parent}' if parent.is_dir() else f'{parent} is a file'
            return [Problem(where, f'cannot be written: {why}.', 'Choose another with --work-dir.')]
        return []

    def check_parent_of(self, paths: Sequence[Path]) -> list[Problem]:
        """A directory of several runs (seeds, orders) must be neither a run itself nor somebody else's, as problems."""
        if self.path in paths or not self.path.is_dir():
            return []
        if self.ledger.exists():
            return [Problem(str(self.path), 'the directory holds a run that was started without seeds or orders.',
                            'Choose another with --work-dir, or --fresh to start anew (the old run is kept beside it).')]
        own = {path.relative_to(self.path).parts[0] for path in paths}
        foreign = bool({entry.name for entry in self.path.iterdir()} - own)
        return self.check_usable() if foreign and not self._runs() else []

    def read_ledger(self) -> Ledger:
        """The ledger, to look at; a directory that is no run is an error."""
        if not self.ledger.exists():
            runs = sorted(str(run.path) for run in self._runs())
            raise RunError(f'{self.path}: not a run directory (no ledger.jsonl).'
                           + (f' It holds several runs: {", ".join(runs)}.' if runs else ''))
        return self.open_ledger(writable=False)

    def _runs(self) -> list[RunDir]:
        """The runs in this directory: itself, or one per seed and order."""
        return [RunDir(file.parent) for depth in ('', '*/', '*/*/') for file in self.path.glob(f'{depth}ledger.jsonl')]

    def move_aside(self) -> Path | None:
        """For --fresh: keep what was earned under another name. Only coinkit's own, and not while it is being written."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return None
        runs = self._runs()
        if not runs and self.is_foreign():
            raise ConfigError(self.check_usable())
        try:
            for run in runs:
                run.lock()
            return self._rename_aside()
        finally:
            for run in runs:
                run.unlock()

    def _rename_aside(self) -> Path:
        name = f'{self.path.name}.old-{time.strftime("%Y%m%d-%H%M%S")}'
        names = chain([name], (f'{name}-{number}' for number in count(2)))
        aside = next(path for path in map(self.path.with_name, names) if not path.exists())
        os.rename(self.path, aside)
        return aside

    def lock(self) -> None:
        """Claim the directory for this process; the system releases the lock when the process ends, however it ends."""
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise ConfigError(Problem(str(self.path), f'cannot be written: {error.strerror}.',
                                      'Choose another with --work-dir.')) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            self._lock = None
            raise RunError(f'{self.path}: another process is running in this directory. Wait for it, or choose '
                           'another with --work-dir.') from error

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for folder in [self.path, *(path for path in self.path.rglob('*') if path.is_dir())]:
            if folder.exists():  # not inside one that was just removed
                atomic.sweep(folder)

    def open_ledger(self, *, writable: bool = True) -> Ledger:
        if writable and not self.ledger.exists():
            self.ledger.touch()  # from here on the directory is known as a run
            atomic.sync_folder(self.path)
        return Ledger(self.ledger, writable=writable)


def finished_stages(ledger: Ledger) -> list[str]:
    """Folder names of finished stages, in order (the zero-shot stage included)."""
    return [record['stage'] for record in ledger.all('stage_done')]


def choose_stage(run: RunDir, ledger: Ledger, wanted: str | None) -> str:
    """The folder name for `--stage N|zero|name`; default the last finished stage."""
    stages = finished_stages(ledger)
    if not stages:
        raise RunError(f'{run.path}: no stage is finished yet. Train first: coinkit train CONFIG --work-dir {run.path}.')
    if wanted is None:
        return stages[-1]
    if wanted == 'zero':
        wanted = '0'
    for name in stages:
        if name == wanted or (wanted.isdigit() and int(name.split('-')[0]) == int(wanted)):
            return name
    raise ConfigError(unknown(f'{run.path}: --stage', 'stage', wanted, stages))
