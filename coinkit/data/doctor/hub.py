"""Fetches what a hub hosts of a benchmark, and unpacks its archives. Only `--download` comes here.

`huggingface_hub` resumes files by itself and checks those it fetched before; what was unpacked is not fetched again, even if
its archive was deleted since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from coinkit.config.schema import Download
from coinkit.data.doctor.unpack import is_archive, is_unpacked, room_for, unpack
from coinkit.data.doctor.work import Bar, NewBar
from coinkit.errors import CoinkitError, ConfigError, DataError, Problem

Say = Callable[[str], None]
MB = 10**6
TRACKS = Path('.cache/huggingface/download')  # where the hub's package notes what it fetched into a folder
KEPT = 'What was fetched is kept: the same command goes on from there.'


def download(wanted: Sequence[Download], root: Path, *, say: Say, new_bar: NewBar) -> None:
    """Fetch and unpack all of it below `root`; one error tells everything that failed."""
    if not wanted:
        say('no hub hosts files of this benchmark: the tables below tell where to get them.')
        return
    failures = []
    for each in wanted:
        folder = root / each.to
        say(f'fetching {each.repo} into {folder}')
        try:
            fetch(each, folder, say=say)
            if each.unpack:
                unpack_all(folder, say=say, new_bar=new_bar)
        except DataError as error:
            failures.append(Problem('', str(error)))
    if failures:
        raise DataError('\n'.join(map(str, failures)))


def fetch(wanted: Download, folder: Path, *, say: Say) -> None:
    """One repository's files. A file that is there and did not come from the hub is the user's own and stays."""
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
    except ImportError as error:
        raise ConfigError(Problem('--download', f'needs the package huggingface_hub ({error}).',
                                  'pip install huggingface_hub')) from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tree = HfApi().list_repo_tree(wanted.repo, repo_type=wanted.kind, revision=wanted.revision, recursive=True)
        sizes = {each.path: each.size for each in tree if hasattr(each, 'size') and _matches(each.path, wanted.files)}
        names = list(sizes)
        own = [name for name in names if (folder / name).exists() and not (folder / TRACKS / f'{name}.metadata').exists()]
        if own:
            say(f'kept as they are, since they did not come from the hub: {", ".join(own[:3])}'
                f'{f" and {len(own) - 3} more" if len(own) > 3 else ""}')
        new = sum(size for name, size in sizes.items() if not (folder / name).exists())
        say(f'{len(names):,} files, {sum(sizes.values()) / 10**9:.2f} GB; not here yet: {new / 10**9:.2f} GB')
        leave = [_literal(name) for name in (*own, *(name for name in names if is_unpacked(folder / name)))]
        snapshot_download(wanted.repo, repo_type=wanted.kind, revision=wanted.revision, local_dir=str(folder),
                          allow_patterns=list(wanted.files) or None, ignore_patterns=leave or None)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise DataError(f'{wanted.repo}: the hub cannot be reached ({_first_line(error)}). {KEPT}') from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise DataError(f'{wanted.repo}: the hub does not give it ({_first_line(error)}). Check the name, the revision and '
                        f'whether the data asks for an agreement (then: `hf auth login`). {KEPT}') from error
    except Exception as error:  # the network fails in many ways, as errors of the libraries below the hub's
        raise DataError(f'{wanted.repo}: fetching stopped ({_first_line(error)}). Is there a network? {KEPT}') from error


def unpack_all(folder: Path, *, say: Say, new_bar: NewBar) -> None:
    """Every archive below `folder` that is not unpacked yet."""
    failures = []
    for archive in _archives(folder):
        if not room_for(archive):
            failures.append(f'{archive}: there is no room to unpack it. Make room and run the same command again.')
            continue
        try:
            with new_bar(f'unpacking {archive.name}', archive.stat().st_size // MB, 'MB') as bar:
                count = unpack(archive, advance=_in_mb(bar))
            say(f'unpacked {count:,} files of {archive}; the archive is not needed any more')
        except CoinkitError as error:
            failures.append(str(error))
    if failures:
        raise DataError('\n'.join(failures))


def _archives(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob('*')):
        if is_archive(path) and path.is_file() and '.cache' not in path.parts and not is_unpacked(path):
            yield path


def _in_mb(bar: Bar) -> Callable[[int], None]:
    """Advance a bar of whole MB by bytes."""
    total = 0

    def advance(size: int) -> None:
        nonlocal total
        steps = (total + size) // MB - total // MB
        total += size
        if steps:
            bar.advance(steps)
    return advance


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """As the hub's package matches them: '*' goes over folders."""
    return not patterns or any(fnmatch(name, pattern) for pattern in patterns)


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return ''.join(f'[{char}]' if char in '[*?' else char for char in name)


def _first_line(error: BaseException) -> str:
    """What happened at the bottom, which the hub's package wraps in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
