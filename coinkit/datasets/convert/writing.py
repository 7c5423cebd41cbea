"""Rows go to disk one by one, under a temporary name until the file is whole; what was left out is counted by its reason.

A name that ends in .json gets a JSON list with one row per line, any other JSON lines.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from coinkit import atomic
from coinkit.datasets.convert.rows import Item, LeftOut, checked, test_row, train_row
from coinkit.errors import DataError

EXAMPLES = 3  # ids named per reason
NO_PICTURE = 'its picture is not there'


@dataclass
class Written:
    """What became of one split."""

    file: Path
    image_root: Path
    rows: int = 0
    without_image: int = 0
    seconds: float = 0.0
    left_out: dict[str, int] = field(default_factory=dict)  # by reason
    examples: dict[str, list[str]] = field(default_factory=dict)  # the first ids of each

    def leave_out(self, one: LeftOut) -> None:
        self.left_out[one.reason] = self.left_out.get(one.reason, 0) + 1
        named = self.examples.setdefault(one.reason, [])
        if len(named) < EXAMPLES:
            named.append(one.id)


def write_split(file: Path, found: Iterable[Item | LeftOut], *, split: str, instruction: str, image_root: Path,
                need_images: bool = False, instruction_asks: bool = False,
                tell: Callable[[int], None] = lambda rows: None) -> Written:
    """Write a split's rows; `need_images` leaves out what has no picture on disk. `tell` hears the number of rows."""
    report, start, array = Written(file, image_root), time.monotonic(), file.suffix == '.json'
    make = train_row if split == 'train' else test_row
    with _whole(file) as out:
        for item in _items(found, report, need_images, instruction_asks):
            line = json.dumps(make(item, instruction), ensure_ascii=False)
            if not _is_text(line):
                report.leave_out(LeftOut(item.id, 'its text is no valid Unicode'))
                continue
            out.write((',\n' if report.rows else '[\n') + line if array else line + '\n')
            report.rows += 1
            report.without_image += not item.image
            tell(report.rows)
        if not report.rows:
            raise DataError(f'{file}: not written, because there is no row to write. {described(report)}'.strip())
        out.write('\n]\n' if array else '')
    report.seconds = time.monotonic() - start
    return report


@contextmanager
def _whole(file: Path) -> Iterator[IO[str]]:
    """A text file that appears when it is whole; nothing stays of one that is not."""
    with atomic.file(file) as temporary:
        try:
            with open(temporary, 'w', encoding='utf-8') as out:
                yield out
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _is_text(line: str) -> bool:
    """Half a surrogate pair can be written in JSON, and nowhere else."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _items(found: Iterable[Item | LeftOut], report: Written, need_images: bool, instruction_asks: bool) -> Iterator[Item]:
    ids: set[str] = set()
    for one in found:
        if isinstance(one, Item):
            one = checked(one, instruction_asks=instruction_asks)
        if isinstance(one, Item) and need_images and one.image and not os.path.exists(report.image_root / one.image):
            one = LeftOut(one.id, NO_PICTURE)
        if isinstance(one, LeftOut):
            report.leave_out(one)
            continue
        if one.id in ids:
            raise DataError(f"{report.file}: not written: the id '{one.id}' stands twice in the annotations; ids must "
                            'differ.')
        ids.add(one.id)
        yield one


def described(report: Written) -> str:
    """What was left out, in words; '' when nothing was."""
    parts = [f'{count} because {reason} ({", ".join(report.examples[reason])}{", ..." if count > EXAMPLES else ""})'
             for reason, count in report.left_out.items()]
    return f'Left out: {"; ".join(parts)}.' if parts else ''
