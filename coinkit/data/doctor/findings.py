"""What the doctor found: one `Finding` per fault or doubt, worded for a person and counted for a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

EXAMPLES = 3  # named in a finding; the others are counted


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`fault`: a run would stop, or lose samples. `note`: a run goes on, and one should know."""

    kind: str  # 'missing_file', 'overlap'... : for programs
    where: str
    message: str
    cure: str = ''
    level: Literal['fault', 'note'] = 'fault'
    count: int = 1
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ', '.join(self.examples[:EXAMPLES])
        end = ', ...' if self.count > len(self.examples[:EXAMPLES]) else '.'
        listed = f': {shown}{end}' if shown else '.'
        return f'{self.where}: {self.message.rstrip(".")}{listed}{" " + self.cure if self.cure else ""}'

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), 'examples': list(self.examples[:EXAMPLES])}


def faults(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep the data from being ready."""
    return [finding for finding in findings if finding.level == 'fault']
