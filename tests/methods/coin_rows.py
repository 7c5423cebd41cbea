"""CoIN's eight tasks as instruction files of a few rows each, in the published wordings, and a run that reads them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coinkit.config import load_config
from coinkit.datasets.instructions import InstructionJson
from coinkit.engine.run_dir import RunDir
from coinkit.types import Query

ORDER = ('ScienceQA', 'TextVQA', 'ImageNet', 'GQA', 'VizWiz', 'Grounding', 'VQAv2', 'OCR-VQA')
ORDERS = {'original order': ORDER, 'reverse': ORDER[::-1], 'alphabet': tuple(sorted(ORDER))}
WORD = 'Answer the question using a single word or phrase.'
OBJECT = 'Answer the object in the image using a single word or phrase.'
BOX = 'Please provide the bounding box coordinate of the region this sentence describes: {}'
ORIGINAL = {**dict.fromkeys(ORDER, '{}\n' + WORD), 'ImageNet': OBJECT, 'Grounding': BOX,
            'ScienceQA': "{}\nA. one\nB. two\nAnswer with the option's letter from the given choices directly."}
DIVERSE = {**ORIGINAL,
           'TextVQA': '{}\nCapture the essence of your response in a single word or a concise phrase.',
           'ImageNet': 'Express the object in the image in a single word or a short, descriptive phrase.',
           'GQA': '{}\nRespond to the question briefly, using only one word or a phrase.',
           'VizWiz': '{}\nProvide a succinct response with a single word or phrase.',
           'OCR-VQA': '{}\nCondense your answer for each question into a single word or concise phrase.'}
TWO_LINES = {**ORIGINAL, 'ImageNet': f'What is the object in the image?\n{WORD}'}  # CoIN's own files
ASKED = ('Which: a or b?', 'a clock: the left one', 'What is this?')


class Coin:
    """As much of a run as InstructionGroups needs, on files in `folder`."""

    def __init__(self, folder: Path, wording: dict[str, str] = ORIGINAL, order: tuple[str, ...] = ORDER):
        for name, text in wording.items():
            write_task(folder / name, text)
        self.folder, self.index = folder, -1
        benchmark = load_config('coin/llava_finetune').benchmark
        known = {task.name: task for task in benchmark.tasks}
        others = [SimpleNamespace(name=name, template='') for name in order if name not in known]
        benchmark = replace(benchmark, tasks=(*benchmark.tasks, *others))
        self.config = SimpleNamespace(benchmark=benchmark, init_from=None, methods=[])
        self.stream = [SimpleNamespace(name=name, slug=name.lower()) for name in order]
        self.run, self.bank = RunDir(folder / 'run'), None
        self.strategy = SimpleNamespace(is_main=True, barrier=lambda: None)
        self.said: list[str] = []
        self.loaded: list[str] = []
        self.reporter = SimpleNamespace(bar=self._bar, say=self.said.append)
        self.interrupt = SimpleNamespace(check=lambda what: None)

    @property
    def task(self) -> Any:
        return self.stream[self.index]

    @property
    def stage_name(self) -> str:
        return RunDir.stage_name(self.index + 1, self.stream)

    def stage_of(self, task: str) -> str:
        return RunDir.stage_name([each.name for each in self.stream].index(task) + 1, self.stream)

    @contextmanager
    def _bar(self, *args: Any, **options: Any):
        yield SimpleNamespace(advance=lambda: None)

    def store(self, name: str) -> Path:
        path = self.run.path / 'methods' / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def load_stage(self, name: str) -> None:
        self.loaded.append(name)

    def train_samples(self) -> InstructionJson:
        return InstructionJson('train.json', root=str(self.folder / self.task.name))

    def queries(self, task: str, *, named: bool = False) -> list[Query]:
        samples = InstructionJson('test.json', root=str(self.folder / task))
        return [Query(each.id, each.images, each.turns, task if named else None) for each in samples]

    def reword(self, task: str, split: str, text: str, row: int = 0) -> None:
        """Another question in one row."""
        path = self.folder / task / f'{split}.json'
        rows = json.loads(path.read_text())
        if split == 'train':
            rows[row]['conversations'][0]['value'] = '<image>\n' + text
        else:
            rows[row]['text'] = text
        path.write_text(json.dumps(rows))

    def train(self, method: Any, until: int | None = None) -> list[str]:
        """Begin every task; the stage that each starts from ('' = the stage before)."""
        starts = []
        for index in range(until or len(self.stream)):
            self.index = index
            self.loaded.clear()
            method.coinkit_begin_task(self)
            starts.append(self.loaded[-1] if self.loaded else '')
        return starts


def write_task(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    train = [{'id': str(i), 'image': 'a.jpg', 'conversations': [
        {'from': 'human', 'value': '<image>\n' + text.format(asked)}, {'from': 'gpt', 'value': 'yes'}]}
        for i, asked in enumerate(ASKED)]
    test = [{'question_id': str(i), 'image': 'a.jpg', 'text': text.format(asked[::-1]), 'answer': 'yes'}
            for i, asked in enumerate(ASKED)]
    (folder / 'train.json').write_text(json.dumps(train))
    (folder / 'test.json').write_text(json.dumps(test))
