"""Backbones on transformers' own models, tiny and random, one folder per model type."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backbones import tiny_transformers as tiny


@pytest.fixture(scope='session')
def folder_of(tmp_path_factory):
    """The checkpoint folder of a model type, built once."""
    root, built = tmp_path_factory.mktemp('tiny_transformers'), {}

    def folder(kind: str) -> Path:
        if kind not in built:
            built[kind] = tiny.build(kind, root / kind)
        return built[kind]
    return folder


@pytest.fixture(scope='session')
def backbone_of(folder_of):
    """The loaded backbone of a model type; tests that change its weights load their own."""
    loaded = {}

    def backbone(kind: str):
        if kind not in loaded:
            loaded[kind] = tiny.load(folder_of(kind))
        return loaded[kind]
    return backbone
