"""What a layout leaves on disk, and the one way its files are written: UTF-8 JSON as the originals have it, and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image

Row = dict[str, Any]


@dataclass
class Written:
    """A layout under `root`, which was empty. `files` and `rows` go by names such as 'TextVQA/train'."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)

    def put_rows(self, name: str, path: str, rows: Sequence[Row]) -> None:
        """An instruction file."""
        self.rows[name] = list(rows)
        self.put_json(name, path, self.rows[name])

    def put_json(self, name: str, path: str, value: Any) -> None:
        """An annotation file."""
        file = self.path(path)
        file.write_text(json.dumps(value, ensure_ascii=False), 'utf-8')
        self.files[name] = file

    def put_image(self, path: str, picture: Image | None) -> None:
        """A picture in the format its name says; the same path is written once."""
        if picture is None or (self.root / path).exists():
            return
        file = self.path(path)
        picture.save(file, **({'quality': 95} if file.suffix.lower() in ('.jpg', '.jpeg') else {}))
        self.images.append(file)

    def path(self, path: str) -> Path:
        """The file's place; its folder is made."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


def train_row(name: str, image: str, text: str, answer: str) -> Row:
    """A training row; without a picture where `image` is ''."""
    value = f'<image>\n{text}' if image else text
    turns = [{'from': 'human', 'value': value}, {'from': 'gpt', 'value': answer}]
    return {'id': name, **({'image': image} if image else {}), 'conversations': turns}


def test_row(name: str, image: str, text: str, **more: Any) -> Row:
    """A test row: no image token in its text."""
    return {'question_id': name, **({'image': image} if image else {}), 'text': text, **more}


test_row.__test__ = False  # pytest collects what is called test_...
