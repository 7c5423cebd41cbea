"""The examination: places, rows, pictures, overlap, and at last what a run's own preflight says.

Each part adds to one report, so that a single run of the command tells all there is to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coinkit.data.doctor.findings import EXAMPLES, faults
from coinkit.data.doctor.needs import FileNeeded, FolderNeeded, Look, Needed
from coinkit.data.doctor.overlap import look_for_overlap
from coinkit.data.doctor.pictures import Pictures
from coinkit.data.doctor.report import Report
from coinkit.data.doctor.rows import FileRows, Rows, find_rows, look_at_samples, read_rows, row_at, twice
from coinkit.data.doctor.sets import TaskSet, files_of, folders_of
from coinkit.data.doctor.work import NewBar, default_workers, in_processes
from coinkit.data.index import nothing_stored
from coinkit.errors import DataError
from coinkit.registry import DATASETS, METRICS
from coinkit.types import Dataset


@dataclass(frozen=True)
class Options:
    """How much is looked at. `write`: indexes are written."""

    verify: str = 'sample'  # pictures to decode: 'sample' of each folder, 'all', 'none'
    sample_size: int = 200
    seed: int = 0
    duplicates: bool = False  # compare pictures byte by byte
    workers: int = default_workers()
    write: bool = True


class Examination:
    """One examination of a benchmark's sets; `run()` gives the report."""

    def __init__(self, name: str, root: str, sets: Sequence[TaskSet], options: Options, new_bar: NewBar):
        self.sets, self.options, self.new_bar = sets, options, new_bar
        self.report = Report(name, root)
        self.rows: dict[tuple[str, str], Rows] = {}  # by task and split
        self.pictures = Pictures(self.report, options, new_bar)
        self._by_samples: list[TaskSet] = []  # their rows are seen through their samples only

    def run(self) -> Report:
        for each in self.sets:
            self._look_at_places(each)
        self._look_at_rows()
        self.pictures.check()
        self._preflight()
        self._look_at_samples()
        for task in dict.fromkeys(each.task for each in self.sets):
            if {(task, 'train'), (task, 'test')} <= self.rows.keys():
                look_for_overlap(self.report, task, self.rows[task, 'train'], self.rows[task, 'test'])
        return self.report

    def _look_at_places(self, each: TaskSet) -> None:
        needed = each.needed() or ()
        if all(file.look is None for file in files_of(needed)):
            self._by_samples.append(each)
        for file in files_of(needed):
            self._look_at_file(each, file)
        for folder in folders_of(needed):
            self._look_at_folder(each, folder)

    def _look_at_file(self, each: TaskSet, file: FileNeeded) -> None:
        if file.optional and not file.path.exists():
            return
        line = self.report.line('file', file.path)
        line.used_by.append(each.name)
        line.source, line.archive = line.source or file.source, line.archive or file.archive
        line.expected_size = line.expected_size or file.expected_size
        if file.path.is_file():
            line.size = file.path.stat().st_size
            return
        line.state = 'missing'
        line.published = each.published if file.look is not None else None  # how many rows to expect
        also = f", nor {' nor '.join(map(str, file.others[:EXAMPLES]))}" if file.others else ''
        self.report.tell('missing_file', file.path, f'there is no such file{also}', cure=_get(file))

    def _look_at_folder(self, each: TaskSet, folder: FolderNeeded) -> None:
        line = self.report.line('folder', folder.path)
        line.used_by.append(each.name)
        line.source, line.archive = line.source or folder.source, line.archive or folder.archive
        line.expected_size = line.expected_size or folder.expected_size
        line.published = line.published or folder.expected_pictures
        if not folder.path.is_dir():
            line.state = 'missing'
            self.report.tell('missing_folder', folder.path, 'there is no such image folder', cure=_get(folder))

    def _look_at_rows(self) -> None:
        """Every file of rows once, however many sets use it."""
        wanted = [(each, file) for each in self.sets for file in files_of(each.needed() or ())
                  if file.look is not None and file.path.is_file()]
        found = {(file.path, file.look): file for _, file in wanted}
        files = [rows for path, look in found if (rows := self._find_rows(path, look)) is not None]
        read: dict[tuple[Path, object], Rows] = {}
        if not files:
            return
        with self.new_bar('rows', sum(len(file.spans) for file in files), 'rows') as bar:
            for file, rows in read_rows(files, workers=self.options.workers, bar=bar):
                read[file.path, file.look] = rows
                self._tell_rows(file, rows)
        for each, file in wanted:
            rows = read.get((file.path, file.look))
            if rows is not None:
                self.rows[each.task, each.split] = rows
                self._tell_count(each, file.path, rows.count)
                self.pictures.want(each, file, rows, folders_of(each.needed() or ()))

    def _find_rows(self, path: Path, look: Callable[..., Look]) -> FileRows | None:
        """None when the file cannot be read, which is told."""
        try:
            return find_rows(path, look)
        except (DataError, OSError) as error:
            self.report.line('file', path).state = 'incomplete' if 'cut short' in str(error) else 'wrong'
            self.report.tell('unreadable_file', path, str(error).removeprefix(f'{path}: '))
            return None

    def _tell_rows(self, file: FileRows, rows: Rows) -> None:
        self.report.add('rows', rows.count)
        if rows.num_wrong or not rows.count:
            self.report.line('file', file.path).state = 'wrong'
        if not rows.count:
            self.report.tell('no_rows', file.path, 'holds no records', cure='Download or write it again.')
        for row, name, why in rows.wrong:
            self.report.tell('wrong_row', f'{file.path}: record {row}' + (f" (id '{name}')" if name else ''), why)
        if rows.num_wrong > len(rows.wrong):
            more = rows.num_wrong - len(rows.wrong)
            self.report.tell('wrong_row', file.path, f'{more:,} more records are wrong', count=more)
        self._tell_duplicate_ids(file, rows)
        for note, examples in rows.notes.items():
            self.report.tell('note_on_rows', file.path, f'{rows.num_notes[note]:,} rows: {note}', level='note',
                             count=rows.num_notes[note], examples=tuple(examples))

    def _tell_duplicate_ids(self, file: FileRows, rows: Rows) -> None:
        pairs = twice(rows.ids)
        if pairs:
            names = tuple(f"'{row_at(file, later).id}' (records {first} and {later})" for first, later in pairs[:EXAMPLES])
            self.report.line('file', file.path).state = 'wrong'
            self.report.tell('duplicate_ids', file.path, f'{len(pairs):,} records have the id of an earlier one',
                             cure='Ids must differ: answers are joined by them.', count=len(pairs), examples=names)

    def _tell_count(self, each: TaskSet, place: Path | str, count: int, kind: str = 'file') -> None:
        line = self.report.line(kind, place)
        line.count, line.published = count, each.published
        if each.published is None or count == each.published:
            return
        if line.state == 'present':
            line.state = 'fewer rows' if count < each.published else 'more rows'
        self.report.tell('other_count', place, f'holds {count:,} rows; {each.published:,} are published', level='note',
                         cure='A cut, another release or converted rows? Scores are not comparable with published ones.')

    def _preflight(self) -> None:
        """What the run itself would say, for sets in which nothing was found yet; the indexes come of it."""
        told = {finding.where.partition(': record')[0] for finding in faults(self.report.findings)}
        whole = [each for each in self.sets if not self._has_fault(each, told)]
        self._by_samples = [each for each in self._by_samples if each in whole]
        others = [each for each in self.sets if each not in whole and self.options.write]  # indexed, and told already
        ours = all(DATASETS.entry(each.type).provider == 'coinkit' and  # else another process lacks them
                   (each.metric is None or METRICS.entry(each.metric['type']).provider == 'coinkit') for each in self.sets)
        jobs = [(each, self.options.write) for each in (*whole, *others)]
        if not jobs:
            return
        with self.new_bar('indexes', len(jobs), 'sets') as bar:
            for each, problems in in_processes(preflight, jobs, self.options.workers if ours and self._large() else 1):
                bar.advance()
                for problem in problems if each in whole else ():
                    self.report.tell('preflight', each.name, problem)

    def _large(self) -> bool:
        return self.report.checked.get('rows', 0) > 50_000  # else a process starts more slowly than it works

    def _has_fault(self, each: TaskSet, told: set[str]) -> bool:
        return any(str(need.path) in told for need in each.needed() or ())

    def _look_at_samples(self) -> None:
        """Sets whose rows only their class can read: their samples are looked at, where they can be opened."""
        opened = [(each, dataset) for each in self._by_samples if (dataset := self._open(each)) is not None]
        if not opened:
            return
        with self.new_bar('samples', sum(len(dataset) for _, dataset in opened), 'samples') as bar:
            for each, dataset in opened:
                try:
                    rows = look_at_samples(dataset, bar=bar)
                except DataError as error:
                    self._cannot_open(each, error)
                    continue
                self.rows[each.task, each.split] = rows
                self.report.add('samples', rows.count)
                self._tell_count(each, _samples_of(each), rows.count, 'samples')
                for first, later in twice(rows.ids)[:1]:
                    self.report.tell('duplicate_ids', each.name, f'samples {first} and {later} have the same id')
                self.pictures.decode_samples(each, dataset)

    def _open(self, each: TaskSet) -> Dataset | None:
        self.report.line('samples', _samples_of(each)).used_by.append(each.name)
        if any(finding.where == each.name for finding in faults(self.report.findings)):
            self.report.line('samples', _samples_of(each)).state = 'wrong'
            return None
        try:
            return each.open()
        except DataError as error:
            self._cannot_open(each, error)
            return None

    def _cannot_open(self, each: TaskSet, error: DataError) -> None:
        self.report.line('samples', _samples_of(each)).state = 'wrong'
        self.report.tell('samples', each.name, str(error))


def preflight(job: tuple[TaskSet, bool]) -> tuple[TaskSet, list[str]]:
    """What a set's class says; also run in another process."""
    each, write = job
    if write:
        return each, [str(problem) for problem in each.preflight()]
    with nothing_stored():
        return each, [str(problem) for problem in each.preflight()]


def _samples_of(each: TaskSet) -> str:
    return f'{each.type} ({each.name})'


def _get(needed: Needed) -> str:
    return f'Get it from {needed.source}.' if needed.source else 'Put it there, or give the folder that holds it as --root.'
