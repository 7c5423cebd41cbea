"""ScienceQA: problems.json and pid_splits.json. All problems of a split, those without a picture too.

The turn is the hint, if there is one, the question, and the options one per line; the answer is the letter. Test rows carry
the options, of which the scorer takes number and gold index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coinkit.datasets.convert.reading import Advance, Record, members
from coinkit.datasets.convert.rows import Item, LeftOut
from coinkit.datasets.convert.source import Files, Source
from coinkit.datasets.shown import shown
from coinkit.errors import DataError

FOLDER = 'ScienceQA'
LETTERS = 'ABCDE'


def read(files: Files, split: str, advance: Advance) -> Iterator[Item | LeftOut]:
    wanted = dict.fromkeys(ids_of(dict(members(files['splits'], advance)), files['splits'], split))
    problems: dict[str, Any] = {pid: value for pid, value in members(files['problems'], advance) if pid in wanted}
    for pid in wanted:
        if pid not in problems:
            raise DataError(f"{files['splits']}: the {split} split has the problem '{pid}', which is not in "
                            f'{files["problems"]}; both files must be of one release.')
        yield _item(Record(problems[pid], files['problems'], f"'{pid}'"), pid, split)


def ids_of(listed: Any, file: Path, split: str) -> list[str]:
    """The split's ids in the file's order; `listed` is what pid_splits.json holds."""
    record = Record(listed, file, 'of splits')
    if not isinstance(record.value.get(split), list):
        raise record.wrong(f"has no list '{split}'. Its keys: {', '.join(record.value) or 'none'}")
    names = [Record({split: each}, file, f'{number} of {split}').name_of(split)
             for number, each in enumerate(record.value[split])]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise record.wrong(f"'{split}' has the id '{twice}' twice; ids must differ")
    return names


def gold_option(record: Record) -> tuple[list[str], int]:
    """The options and the index of the right one."""
    choices, gold = record.texts('choices'), record.number('answer')
    if not 2 <= len(choices) <= len(LETTERS):
        raise record.wrong(f'has {len(choices)} choices; 2 to {len(LETTERS)} are wanted')
    if not 0 <= gold < len(choices):
        raise record.wrong(f'its answer is {shown(gold)} and it has {len(choices)} choices; 0 to {len(choices) - 1} is '
                           'wanted')
    return choices, gold


def _item(record: Record, pid: str, split: str) -> Item | LeftOut:
    choices, gold = gold_option(record)
    hint = record.text('hint').strip() if record.value.get('hint') else ''
    options = [f'{letter}. {choice}' for letter, choice in zip(LETTERS, choices, strict=False)]
    question = '\n'.join([*([hint] if hint else []), record.text('question').strip(), *options])
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
