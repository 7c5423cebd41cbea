"""Which instruction a question carries: the words that are the same in many rows of a task, apart from the question.

By default the last line of the first human turn. A benchmark's `templates` are regular expressions for rows that are made
otherwise: the first one that matches names the instruction by its first group, or by the whole match. Row by row they
look at the text alone, so that they also serve where the task is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from coinkit.data.images import without_tags
from coinkit.errors import DataError, Problem
from coinkit.types import Query, Sample

MOST = 1000  # distinct instructions of a data set; more are questions, not instructions


class Templates:
    """`instruction_of(row)`; `patterns` are tried in order."""

    def __init__(self, patterns: Sequence[str] = ()):
        self.patterns = [re.compile(pattern) for pattern in patterns]

    def instruction_of(self, row: Sample | Query, *, line: int | None = None) -> str:
        """`line` counts the lines of the turn from 1, or from the end from -1; a picture stands in a line of its own."""
        text = without_tags(row.turns[0].text).strip()
        if line is not None:
            return _line_of(row, text, line)
        for pattern in self.patterns:
            if found := pattern.search(text):
                return (found[1] if pattern.groups else found[0]).strip()
        return text.rsplit('\n', 1)[-1].strip()

    def distinct(self, rows: Iterable[Sample | Query], *, where: str, line: int | None = None) -> tuple[str, ...]:
        """The instructions of all rows, each once, in the order of first occurrence."""
        found: dict[str, None] = {}
        for row in rows:
            found[self.instruction_of(row, line=line)] = None
            if len(found) > MOST:
                first = "', '".join(list(found)[:2])
                raise DataError(f"{where}: more than {MOST} different instructions, such as '{first}'. Is the last line the "
                                "question? Give the benchmark a pattern that finds the instruction: templates=[r'...'].")
        return tuple(found)


def _line_of(row: Sample | Query, text: str, line: int) -> str:
    lines = [*([''] if row.images else []), *text.split('\n')]
    index = line - 1 if line > 0 else line
    if line == 0 or not -len(lines) <= index < len(lines) or not lines[index].strip():
        raise DataError(f"record '{row.id}': template_line asks for line {line}, and the turn has {len(lines)} lines"
                        f'{" with that of the picture" if row.images else ""}: {text!r}.')
    return lines[index].strip()


def pattern_problems(where: str, patterns: Sequence[str]) -> list[Problem]:
    """Patterns that are no regular expressions."""
    problems = []
    for number, pattern in enumerate(patterns):
        try:
            re.compile(pattern)
        except re.error as error:
            problems.append(Problem(f'{where}.{number}', f'{pattern!r} is no regular expression: {error}.'))
    return problems
