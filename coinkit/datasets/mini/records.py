"""Write a mini task as CoIN's data files: PNG pictures and a JSON array of training or test rows.

What `InstructionJson` reads back are the same samples, so that the way of a real benchmark's files can be tried without
its data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coinkit.datasets.mini.dataset import Mini
from coinkit.types import Sample


def to_record(sample: Sample, image: str) -> dict[str, Any]:
    """A sample as a row: conversations where it ends with an answer, a question with its gold answer otherwise."""
    if sample.turns[-1].role == 'gpt':
        turns = [{'from': turn.role, 'value': turn.text} for turn in sample.turns]
        turns[0]['value'] = '<image>\n' + turns[0]['value']
        return {'id': sample.id, 'image': image, 'conversations': turns}
    row = {'question_id': sample.id, 'image': image, 'text': sample.turns[0].text, **sample.meta}
    if 'answer_bbox' in sample.meta:  # CoIN's grounding rows have no other answer
        return row
    return {**row, 'answers': list(sample.references)} if len(sample.references) > 1 else \
        {**row, 'answer': sample.references[0]}


def write_records(dataset: Mini, folder: Path, *, images: str = 'images') -> Path:
    """Write `folder/{split}.json` and its pictures under `folder/{images}`; returns the JSON file."""
    (folder / images / dataset.split).mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(len(dataset)):
        sample = dataset[index]
        name = f'{images}/{dataset.split}/{index}.png'
        sample.images[0].load().save(folder / name)
        rows.append(to_record(sample, name))
    file = folder / f'{dataset.split}.json'
    file.write_text(json.dumps(rows, indent=1), 'utf-8')
    return file
