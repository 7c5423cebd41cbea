"""What `init_from` names: a run directory, one of its stages (`RUN:3`), or a PEFT folder."""

from __future__ import annotations

from pathlib import Path


def split_source(source: str) -> tuple[Path, str | None]:
    """`RUN:3` -> (RUN, '3'); a path that exists as it is has no stage."""
    if Path(source).exists() or ':' not in source:
        return Path(source), None
    path, stage = source.rsplit(':', 1)
    return Path(path), stage
