"""ScienceQA: problems.json and pid_splits.json. All problems of a split, those without a picture too.

The turn is the hint, if there is one, the question, and the options one per line; the answer is the letter. Test rows carry
the options, of which the scorer takes number and gold index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coinkit.datasets.convert.reading import Advance, Record, members
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source
from coinkit.errors import DataError

FOLDER = 'ScienceQA'
LETTERS = 'ABCDE'


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    wanted = _ids(files, split, advance)
    problems: dict[str, Any] = {pid: value for pid, value in members(files['problems'], advance) if pid in wanted}
    for pid in wanted:
        if pid not in problems:
            raise DataError(f"{files['splits']}: the {split} split has the problem '{pid}', which is not in "
                            f'{files["problems"]}; both files must be of one release.')
        yield _item(Record(problems[pid], files['problems'], f"'{pid}'"), pid, split)


def _ids(files: Files, split: str, advance: Advance) -> dict[str, None]:
    """The split's ids in the file's order."""
    listed = dict(members(files['splits'], advance))
    record = Record(listed, files['splits'], 'of splits')
    if not isinstance(listed.get(split), list):
        raise record.wrong(f"has no list '{split}'. Its keys: {', '.join(listed) or 'none'}")
    return dict.fromkeys(map(str, listed[split]))


def _item(record: Record, pid: str, split: str) -> Item | LeftOut:
    choices, gold = record.texts('choices'), record.number('answer')
    if not 2 <= len(choices) <= len(LETTERS):
        raise record.wrong(f'has {len(choices)} choices; 2 to {len(LETTERS)} are wanted')
    if not 0 <= gold < len(choices):
        raise record.wrong(f'its answer is {gold} and it has {len(choices)} choices')
    hint = record.value.get('hint') or ''
    options = [f'{letter}. {choice}' for letter, choice in zip(LETTERS, choices, strict=False)]
    question = '\n'.join([*([hint.strip()] if str(hint).strip() else []), record.text('question').strip(), *options])
    image = f'{FOLDER}/images/{_folder(record, split)}/{pid}/{record.text("image")}' if record.value.get('image') else ''
    return Item(pid, image, question, LETTERS[gold], {'answer': LETTERS[gold], 'choices': choices})


def _folder(record: Record, split: str) -> str:
    """The problem's own split names the folder of its picture."""
    own: Mapping[str, Any] = record.value
    return own['split'] if isinstance(own.get('split'), str) else split


SOURCES = {'scienceqa': Source(
    'scienceqa', 'ScienceQA', (FOLDER, f'{FOLDER}/data', f'{FOLDER}/data/scienceqa'),
    {split: {'splits': ('pid_splits.json',), 'problems': ('problems.json',)} for split in ('train', 'test')},
    read, 'scienceqa.github.io')}
