"""Which instruction a question carries: the words that are the same in many rows of a task, apart from the question.

By default the last line of the first human turn. A task whose rows are made otherwise has a pattern, its `template`: the
instruction is its first group, or the whole match; where it finds nothing, the last line. The patterns of a benchmark are
tried in order on a question whose task is not known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from coinkit.data.images import without_tags
from coinkit.errors import DataError
from coinkit.types import Query, Sample

MOST = 1000  # distinct instructions of a data set; more are questions, not instructions
Row = Sample | Query


@dataclass(frozen=True)
class Template:
    """How the instruction is read from a row: by patterns, the first that matches, or by a line of the turn.

    `line` counts from 1, or from the end from -1; a picture stands in a line of its own.
    """

    patterns: tuple[str, ...] = ()
    line: int | None = None

    @cached_property
    def _compiled(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern) for pattern in self.patterns]

    def instruction_of(self, row: Row) -> str:
        text = without_tags(row.turns[0].text).strip()
        if self.line is not None:
            return _line_of(row, text, self.line)
        for pattern in self._compiled:
            if found := pattern.search(text):
                return (found[1] if pattern.groups else found[0]).strip()
        return text.rsplit('\n', 1)[-1].strip()

    def distinct(self, rows: Iterable[Row], *, where: str) -> tuple[str, ...]:
        """The instructions of all rows, each once, in the order of first occurrence."""
        found = self.counted(rows)
        if len(found) > MOST:
            raise too_many(found, where)
        return tuple(found)

    def counted(self, rows: Iterable[Row]) -> dict[str, int]:
        """How many rows have each instruction; it ends at one more than are allowed."""
        found: dict[str, int] = {}
        for row in rows:
            text = self.instruction_of(row)
            found[text] = found.get(text, 0) + 1
            if len(found) > MOST:
                break
        return found


LAST_LINE = Template()


def too_many(found: Collection[str], where: str) -> DataError:
    """The error of questions that were taken for instructions."""
    first = "', '".join(list(found)[:2])
    return DataError(f"{where}: more than {MOST} different instructions, such as '{first}'. Is the last line the question? "
                     "Give the task a pattern that finds the instruction: template=r'...'.")


def read_as_known(rows: Sequence[Row], known: Mapping[Template, Collection[str]], *, where: str) -> tuple[str, ...]:
    """The instructions of a test set whose task is not told, read by one of the templates that tasks have.

    It is the one by which most rows say what is `known` of the tasks that have it, of these the one that finds fewest.
    """
    found = {template: template.counted(rows) for template in known}
    fitting = [template for template, texts in found.items() if len(texts) <= MOST]
    if not fitting:
        raise too_many(found[next(iter(found))], where)

    def fit(template: Template) -> tuple[int, int, bool]:
        texts = found[template]
        rows_known = sum(count for text, count in texts.items() if text in known[template])
        return rows_known, -len(texts), template != LAST_LINE

    return tuple(found[max(fitting, key=fit)])


def _line_of(row: Row, text: str, line: int) -> str:
    lines = [*([''] if row.images else []), *text.split('\n')]
    index = line - 1 if line > 0 else line
    if line == 0 or not -len(lines) <= index < len(lines) or not lines[index].strip():
        raise DataError(f"record '{row.id}': template_line asks for line {line}, and the turn has {len(lines)} lines"
                        f'{" with that of the picture" if row.images else ""}: {text!r}.')
    return lines[index].strip()
