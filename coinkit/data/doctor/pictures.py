"""The pictures that rows name: asked for once each, decoded in samples, told by the file that names them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coinkit.data.doctor.findings import EXAMPLES
from coinkit.data.doctor.images import check_references, same_content, sample, undecodable
from coinkit.data.doctor.needs import FileNeeded, FolderNeeded
from coinkit.data.doctor.report import Report
from coinkit.data.doctor.rows import Rows
from coinkit.data.doctor.sets import TaskSet
from coinkit.data.doctor.work import NewBar, in_threads
from coinkit.errors import BadImage
from coinkit.types import Dataset

MEND = "Unpack the missing archive, correct image_root, or set data.on_bad_image='skip'."
AGAIN = "Download them again, or set data.on_bad_image='skip'."


class _Wanted(NamedTuple):
    """The pictures one file of rows names."""

    each: TaskSet
    file: Path
    root: str
    rows: Rows

    @property
    def level(self) -> str:
        """A run that skips what it cannot open does start; one should know what it will skip."""
        return 'fault' if self.each.on_bad_image == 'error' else 'note'


class Pictures:
    """Collects what rows want and looks for all of it at once."""

    def __init__(self, report: Report, options: Any, new_bar: NewBar):
        self.report, self.options, self.new_bar = report, options, new_bar
        self._wanted: list[_Wanted] = []
        self._folders: dict[str, list[FolderNeeded]] = defaultdict(list)  # by image root

    def want(self, each: TaskSet, file: FileNeeded, rows: Rows, folders: Sequence[FolderNeeded]) -> None:
        """Note the pictures of a file's rows."""
        root = str(file.image_root(next(iter(rows.images), None)))
        self._wanted.append(_Wanted(each, file.path, root, rows))
        self._folders[root] += [folder for folder in folders if folder not in self._folders[root]]

    def check(self) -> None:
        """Everything about the files of the pictures."""
        by_root: dict[str, dict[str, None]] = defaultdict(dict)
        for wanted in self._wanted:
            by_root[wanted.root].update(dict.fromkeys(wanted.rows.images))
        for root, paths in by_root.items():
            if paths:
                self._check_root(root, list(paths))

    def _check_root(self, root: str, paths: list[str]) -> None:
        workers = self.options.workers
        with self.new_bar('pictures that rows name', len(paths), 'files') as bar:
            missing, empty = check_references(root, paths, workers=workers, bar=bar)
        self.report.add('pictures named', len(paths))
        gone, none = set(missing), set(empty)
        for wanted in self._of(root):
            self._tell(wanted, 'missing_image', gone, f"are not in '{root}'", MEND)
            self._tell(wanted, 'empty_image', none, f"are empty files in '{root}'", AGAIN)
        there = [path for path in paths if path not in gone and path not in none]
        self._count_folders(root, paths, gone | none)
        self._decode(root, there)
        if self.options.duplicates:
            self._compare(root, there)

    def _of(self, root: str) -> list[_Wanted]:
        return [wanted for wanted in self._wanted if wanted.root == root]

    def _tell(self, wanted: _Wanted, kind: str, paths: set[str], message: str, cure: str) -> None:
        here = [path for path in wanted.rows.images if path in paths]
        if here:
            named = tuple(f"'{path}' (record {wanted.rows.images[path]})" for path in here[:EXAMPLES])
            self.report.tell(kind, wanted.file, f'{len(here):,} of {len(wanted.rows.images):,} pictures {message}',
                             cure=cure, level=wanted.level, count=len(here), examples=named)

    def _count_folders(self, root: str, paths: Sequence[str], unusable: set[str]) -> None:
        for folder, inside in self._by_folder(root, paths).items():
            line = self.report.line('folder', folder)
            bad = sum(path in unusable for path in inside)
            line.wanted, line.count = len(inside), len(inside) - bad
            line.used_by = line.used_by or [wanted.each.name for wanted in self._of(root)]
            if bad and line.state == 'present':
                line.state = 'incomplete'

    def _by_folder(self, root: str, paths: Sequence[str]) -> dict[str, list[str]]:
        """Paths by the declared folder that holds them, else by the first folder of their path."""
        declared = sorted((str(each.path) for each in self._folders[root]), key=len, reverse=True)
        found: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            whole = f'{root}/{path}'
            top = path.split('/')[0] if '/' in path else ''
            found[next((each for each in declared if whole.startswith(f'{each}/')), str(Path(root) / top))].append(path)
        return found

    def _decode(self, root: str, there: Sequence[str]) -> None:
        if self.options.verify == 'none':
            return
        chosen = []
        for folder, inside in self._by_folder(root, there).items():
            count = len(inside) if self.options.verify == 'all' else self.options.sample_size
            chosen += sample(inside, count, seed=f'{self.options.seed}/{folder}')
        if not chosen:
            return
        with self.new_bar('pictures decoded', len(chosen), 'pictures') as bar:
            wrong = undecodable(root, chosen, workers=self.options.workers, bar=bar)
        self.report.add('pictures decoded', len(chosen))
        for wanted in self._of(root):
            here = [path for path in wanted.rows.images if path in wrong]
            if here:
                why = tuple(f"'{path}' (record {wanted.rows.images[path]}: {_reason(wrong[path], root, path)})"
                            for path in here[:EXAMPLES])
                tried = sum(path in wanted.rows.images for path in chosen)
                more = '' if self.options.verify == 'all' else ' --verify all tries every picture.'
                self.report.tell('bad_image', wanted.file, f'{len(here):,} of {tried:,} pictures tried cannot be decoded',
                                 cure=AGAIN + more, level=wanted.level, count=len(here), examples=why)

    def _compare(self, root: str, there: Sequence[str]) -> None:
        with self.new_bar('pictures compared', len(there), 'files') as bar:
            groups = same_content(root, there, workers=self.options.workers, bar=bar)
        for wanted in self._of(root):
            inside = [[path for path in group if path in wanted.rows.images] for group in groups]
            same = [group for group in inside if len(group) > 1]
            if same:
                self.report.tell('same_images', wanted.file, f'{len(same):,} groups of pictures have equal content',
                                 level='note', count=len(same), examples=_equations(same))
        self._compare_splits(root, groups)

    def _compare_splits(self, root: str, groups: Sequence[Sequence[str]]) -> None:
        by_task: dict[str, dict[str, Rows]] = defaultdict(dict)
        for wanted in self._of(root):
            by_task[wanted.each.task][wanted.each.split] = wanted.rows
        for task, splits in by_task.items():
            if {'train', 'test'} <= splits.keys():
                train, test = splits['train'].images, splits['test'].images
                shared = [group for group in groups if any(path in train and path not in test for path in group)
                          and any(path in test and path not in train for path in group)]
                if shared:
                    self.report.tell('overlap_content', task, f'{len(shared):,} test pictures equal training pictures of '
                                     'other names', level='note', count=len(shared),
                                     examples=_equations(shared))

    def decode_samples(self, each: TaskSet, dataset: Dataset) -> None:
        """Pictures of a dataset that names no files."""
        if self.options.verify == 'none':
            return
        count = len(dataset) if self.options.verify == 'all' else self.options.sample_size
        rows = [int(row) for row in sample([str(row) for row in range(len(dataset))], count, seed=f'{self.options.seed}')]
        wrong = [(row, why) for row, why in zip(rows, in_threads(lambda row: _load(dataset, row), rows,
                                                                 self.options.workers), strict=True) if why]
        self.report.add('pictures decoded', len(rows))
        if wrong:
            level = 'fault' if each.on_bad_image == 'error' else 'note'
            self.report.tell('bad_image', each.name, f'{len(wrong):,} samples have pictures that cannot be decoded',
                             level=level, count=len(wrong), examples=tuple(why for _, why in wrong[:EXAMPLES]))


def _load(dataset: Dataset, row: int) -> str:
    try:
        for image in dataset[row].images:
            image.load()
    except BadImage as error:
        return str(error)
    return ''


def _equations(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(' = '.join(group[:3]) for group in groups[:EXAMPLES])


def _reason(message: str, root: str, path: str) -> str:
    """The message without the file's name, which is told beside it."""
    return message.removeprefix(f'{root}/{path}: ').split('. ')[0].rstrip('.')
