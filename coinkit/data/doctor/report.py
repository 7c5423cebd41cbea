"""What the doctor hands back: a line per file and folder, the findings, and whether the data is ready."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from coinkit.data.doctor.findings import Finding, faults

SCHEMA = 'coinkit.data/1'


@dataclass
class Line:
    """One file, folder or set of samples. `count`: rows, or pictures that are there of `wanted`."""

    kind: str  # 'file', 'folder', 'samples'
    place: str
    used_by: list[str]
    state: str = 'present'  # 'missing', 'incomplete', 'wrong', 'fewer rows', 'more rows'
    count: int | None = None
    published: int | None = None  # rows of a file, pictures of a folder
    wanted: int | None = None  # pictures that rows name
    size: int | None = None  # bytes on disk
    expected_size: int | None = None  # bytes to fetch, as the source says; of `archive` where it is named
    archive: str = ''
    source: str = ''


@dataclass(frozen=True)
class Overlap:
    """What the test set of a task shares with its training set."""

    task: str
    images: int  # test pictures that are training pictures
    test_images: int
    questions: int  # test rows whose question is asked in training, of whatever picture
    rows: int  # test rows whose question is asked in training of the same picture
    test_rows: int


@dataclass(frozen=True)
class ToGet:
    """What is missing: bytes of what has a published size, and how many files, folders and archives have and have none."""

    size: int
    known: int
    unknown: int


@dataclass
class Report:
    """The whole examination. `checked` says what was looked at and how much of it."""

    benchmark: str
    root: str
    lines: list[Line] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def ready(self, *, strict: bool = False) -> bool:
        """Would a run start and lose nothing? `strict`: and is there no doubt either."""
        return not (self.findings if strict else faults(self.findings))

    def add(self, name: str, count: int) -> None:
        """Count what was looked at."""
        self.checked[name] = self.checked.get(name, 0) + count

    def line(self, kind: str, place: Path | str) -> Line:
        """The line of a place, made when it is new."""
        for line in self.lines:
            if (line.kind, line.place) == (kind, str(place)):
                return line
        self.lines.append(Line(kind, str(place), []))
        return self.lines[-1]

    def tell(self, kind: str, where: Path | str, message: str, **more: Any) -> None:
        """Add a finding, once."""
        finding = Finding(kind=kind, where=str(where), message=message, **more)
        if finding not in self.findings:
            self.findings.append(finding)

    def still_to_get(self) -> ToGet:
        """Missing files and folders; an archive that holds several of them counts once, and whole."""
        missing = [line for line in self.lines if line.state == 'missing' and line.kind != 'samples']
        sizes: dict[tuple[str, str], int | None] = {}
        for line in missing:
            key = ('archive', line.archive) if line.archive else ('place', line.place)
            sizes[key] = sizes.get(key) or line.expected_size
        known = [size for size in sizes.values() if size is not None]
        return ToGet(sum(known), len(known), len(sizes) - len(known))

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        return {'schema': SCHEMA, 'benchmark': self.benchmark, 'root': self.root, 'ready': self.ready(strict=strict),
                'checked': self.checked, 'places': [asdict(line) for line in self.lines],
                'still_to_get': asdict(self.still_to_get()),
                'overlaps': [asdict(each) for each in self.overlaps],
                'findings': [finding.to_json() for finding in self.findings]}
